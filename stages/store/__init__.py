"""A content-addressed store for work that is expensive to redo, outside DVC's outputs."""

import hashlib
import json
import os
from functools import cache
from importlib.metadata import version
from pathlib import Path

from stages.files import write_atomically


def cache_folder() -> Path:
    """Return the folder of stores, checkpoints and logs: `PIPELINE_CACHE`, or `.cache`, as seen from the clone.

    A queued experiment runs in a fresh tree; `DVC_ROOT` then names the clone it came from.
    """
    return Path(os.environ.get("DVC_ROOT", "."), os.environ.get("PIPELINE_CACHE") or ".cache")


@cache
def made_by(code: tuple[Path, ...], packages: tuple[str, ...]) -> dict[str, object]:
    """Return what a stored value depends on beside its input: the code that makes it, the packages that this calls."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in code)).hexdigest()
    return {"code": digest, "packages": {name: version(name) for name in packages}}


class Store:
    """Bytes by key, one file each, written atomically; safe for several processes."""

    def __init__(self, name: str) -> None:
        self.folder = cache_folder() / name

    @staticmethod
    def key(**parts: object) -> str:
        """Return the sha256 (hex) of `parts`: everything the stored value depends on."""
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def get(self, key: str) -> bytes | None:
        """Return the bytes stored under `key`, or None (also where the file is damaged)."""
        try:
            content = self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        digest, value = content[:32], content[32:]
        return value if hashlib.sha256(value).digest() == digest else None

    def put(self, key: str, value: bytes) -> None:
        """Store `value` under `key`; a reader never sees half of it."""
        path = self._path(key)
        write_atomically(path, hashlib.sha256(value).digest() + value)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key[2:]
