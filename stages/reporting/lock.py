"""What the last `dvc repro` noted in dvc.lock, and what is no longer of it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree
from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.params import PARAMS_FILE, Params
from stages.runtime.errors import UserError

LOCK = Path("dvc.lock")
DOCUMENTS = "documents"  # the folder of a corpus that extract depends on


class Out(BaseModel):
    """A file or folder as dvc.lock notes it; of a folder, `md5` is that of its listing."""

    path: str
    md5: str | None = None


class LockedStage(BaseModel):
    """A stage's last run: params by file and key, dependencies, outputs."""

    params: dict[str, dict[str, Any]] = {}
    deps: list[Out] = []
    outs: list[Out] = []


class Lock(BaseModel):
    """dvc.lock."""

    stages: dict[str, LockedStage] = {}


def read_lock() -> Lock:
    """Read dvc.lock; where it is missing, nothing was run.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        return Lock.model_validate(YAML(typ="safe", pure=True).load(LOCK.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Lock()
    except (YAMLError, ValueError) as fault:  # also what is no UTF-8, or of another form
        why = str(fault).splitlines()[0]
        raise UserError(f"{LOCK} cannot be read ({why}): `git checkout -- {LOCK}` brings the committed one") from None


def find_changed(lock: Lock, *folders: Path) -> list[str]:
    """Return the outputs in or below `folders` that are there and are not those that DVC noted."""
    outs = {Path(out.path): out.md5 for kept in lock.stages.values() for out in kept.outs if out.md5}
    return sorted(
        path.as_posix()
        for path, digest in outs.items()
        if any(path.is_relative_to(folder) for folder in folders) and path.exists() and _digest(path) != digest
    )


def _digest(path: Path) -> str:
    """Return the hash of a file or folder as DVC notes it."""
    if path.is_file():
        return _md5(path)
    tree = Tree()  # type: ignore[no-untyped-call]
    for file in path.rglob("*"):
        if file.is_file():
            tree.add(file.relative_to(path).parts, None, HashInfo("md5", _md5(file)))
    tree.digest()
    return str(tree.oid)


def _md5(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def find_outdated(lock: Lock, params: Params) -> list[tuple[str, object, object]]:
    """Return the params whose value is not the one of the last run: key, that value, the present one."""
    used = {key: value for kept in lock.stages.values() for key, value in kept.params.get(PARAMS_FILE.name, {}).items()}
    # The corpus is no param of a stage: dvc.yaml makes paths of it.
    for dependency in lock.stages.get("extract", LockedStage()).deps:
        if Path(dependency.path).name == DOCUMENTS:
            used["corpus"] = Path(dependency.path).parent.as_posix()
    now = {key: _value(params, key) for key in used}
    if "corpus" in now:
        now["corpus"] = Path(str(now["corpus"])).as_posix()
    return [(key, used[key], now[key]) for key in sorted(used) if used[key] != now[key]]


def _value(params: Params, key: str) -> Any:
    found: Any = params
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
