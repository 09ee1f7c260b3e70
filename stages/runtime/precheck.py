"""What DVC trips over below documents/: it reads every file there before a stage of ours can say anything.

What DVC 3.67 was seen to do: it waits for ever at a pipe, and stops at the others with a line that names no remedy,
sometimes no file. A link to a folder it passes over, as the stage does.
"""

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from stages.runtime.errors import UserError

log = logging.getLogger(__name__)

# Folders that DVC never looks into.
PASSED_OVER = {".dvc", ".git", ".hg"}
Fault = tuple[Path, str]


def check_for_dvc(folder: Path) -> None:
    """Name everything below `folder` that DVC cannot read, one line each.

    Raises:
        UserError: if there is any, or no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder: make it and put the documents in")
    faults = what_stops_dvc(folder)
    for path, why in faults:
        log.warning("%s: %s", ascii(str(path)), why)
    if faults:
        raise UserError(f"{folder}: DVC stops at {len(faults)} of the files in it: see above for what to do with each")
    log.info("%s: nothing that DVC could not read", folder)


def what_stops_dvc(folder: Path) -> list[Fault]:
    """Return what below `folder` DVC cannot read and, for each, why and what to do; sorted by path.

    Files of all kinds are looked at, hidden ones too; none is opened, so that nothing here waits. What a .dvcignore
    leaves out for DVC is left out, too.
    """
    found = sorted(_faults(folder))
    # To say what it ignores, DVC reads files of these names.
    if found and not any(path.name in (".dvcignore", ".gitignore") for path, _ in found):
        return _not_ignored(found)
    return found


def _faults(folder: Path) -> Iterator[Fault]:
    closed: list[Fault] = []

    def note(fault: OSError) -> None:
        closed.append((Path(fault.filename), f"{fault.strerror}: `chmod u+rwx` this folder, move or remove it"))

    for parent, folders, names in os.walk(folder, onerror=note):
        folders[:] = [name for name in folders if name not in PASSED_OVER]
        for name in list(folders):
            # A folder that can be listed but not entered would have each of its files named.
            if not os.access(path := Path(parent, name), os.X_OK) and not path.is_symlink():
                folders.remove(name)
                yield path, "its files cannot be reached: `chmod u+rwx` this folder or remove it"
        for name in names:
            if why := _fault(Path(parent, name)):
                yield Path(parent, name), why
    yield from closed


def _fault(file: Path) -> str | None:
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return "a link that leads nowhere: mend or remove it"
    except OSError as fault:
        return f"{fault.strerror}: mend or remove it"
    if stat.S_ISFIFO(mode):
        return "a pipe, at which DVC waits for ever: remove it"
    if not stat.S_ISREG(mode):
        return f"a {'socket' if stat.S_ISSOCK(mode) else 'device'}, no file: remove it"
    if not os.access(file, os.R_OK):
        return "no permission to read it: `chmod u+r` it or remove it"
    if file.name == ".dvcignore":
        return "DVC allows none here: remove it, and move what it leaves out to another folder"
    # `dvc add a.pdf` makes a.pdf.dvc, which is in order.
    if file.name == "dvc.yaml" or (file.suffix == ".dvc" and not file.with_suffix("").exists()):
        return "DVC takes it for a file of its own: rename or remove it"
    try:
        str(file).encode()
    except UnicodeEncodeError:
        return "its name is no UTF-8: rename it (`convmv -f latin1 -t utf8 -r --notest` does a whole folder)"
    return None


def _not_ignored(found: list[Fault]) -> list[Fault]:
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        ignore = Repo().dvcignore
    except NotDvcRepoError:
        return found
    # As a folder, too: some of these are.
    paths = {path: str(path.absolute()) for path, _ in found}
    return [
        (path, why)
        for path, why in found
        if not ignore.is_ignored_file(paths[path]) and not ignore.is_ignored_dir(paths[path])
    ]
