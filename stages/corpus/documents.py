"""The files of a corpus's `documents/` folder and the ids they go by."""

import os
import stat
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from stages.runtime.errors import UserError

ENDINGS = (".pdf", ".md", ".txt")


@dataclass(frozen=True)
class Source:
    """One document on disk: its id, its path relative to the folder (with `/`), where to open it."""

    document_id: str
    path: str
    file: Path


@dataclass(frozen=True)
class Folder:
    """What a folder holds: documents sorted by id, and the paths of files of other kinds."""

    sources: list[Source]
    others: list[str]


def list_documents(folder: Path) -> Folder:
    """List the documents below `folder`, at any depth; hidden files and folders are left out.

    The id is the relative path without its ending, in Unicode form NFC; the ending is kept where two
    files differ in nothing else. Bytes that are no UTF-8 are written as backslash escapes.

    Raises:
        UserError: if the folder is missing or holds no document, or if two names are the same text
            in different Unicode forms.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder: make it and put the documents in")
    files: list[Path] = []
    others: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=_stop):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        # Neither DVC nor this walk follows a link to a folder: it is named, so that nothing disappears silently.
        others += [Path(parent, name) for name in folders if Path(parent, name).is_symlink()]
        for name in sorted(names):
            if name.startswith("."):
                continue
            file = Path(parent, name)
            (files if file.suffix.lower() in ENDINGS else others).append(file)
    if not files:
        kinds = ", ".join(sorted({file.suffix or file.name for file in others}))
        found = f" (it holds {len(others)} of other kinds: {kinds})" if others else " (it is empty)"
        raise UserError(f"{folder}: no {', '.join(ENDINGS)} file in this folder{found}")
    return Folder(name_sources(files, folder), [printable(file.relative_to(folder).as_posix()) for file in others])


def _stop(fault: OSError) -> NoReturn:
    raise UserError(f"{printable(str(fault.filename))}: this folder cannot be listed: {fault.strerror}")


def name_sources(files: list[Path], folder: Path) -> list[Source]:
    """Give each of `files` (below `folder`) its id; sorted by id.

    Raises:
        UserError: if two files come to the same id.
    """
    paths = {file: printable(file.relative_to(folder).as_posix()) for file in files}
    stems = {file: path[: len(path) - len(file.suffix)] for file, path in paths.items()}
    count = Counter(stems.values())
    ids = {file: stem if count[stem] == 1 else paths[file] for file, stem in stems.items()}
    for document_id, times in Counter(ids.values()).items():
        if times > 1:
            # In ASCII, where they look different.
            twins = [ascii(file.relative_to(folder).as_posix()) for file, name in ids.items() if name == document_id]
            raise UserError(f"{folder}: the names {' and '.join(twins)} are the same text: rename one")
    return sorted((Source(ids[file], paths[file], file) for file in files), key=lambda source: source.document_id)


def printable(name: str) -> str:
    """Return a file name as valid Unicode (NFC), undecodable bytes as backslash escapes."""
    return unicodedata.normalize("NFC", name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


def why_unreadable(file: Path) -> str | None:
    """Say why `file` is no document that can be opened, without touching its content, or None."""
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return "a link that leads nowhere" if file.is_symlink() else "no such file"
    except OSError as fault:
        return f"cannot be opened: {fault.strerror}"
    if not stat.S_ISREG(mode):
        return "not a regular file"
    if file.suffix.lower() not in ENDINGS:
        return f"its name does not end in {', '.join(ENDINGS)}"
    return None if os.access(file, os.R_OK) else "no permission to read it"
