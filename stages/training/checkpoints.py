"""Checkpoints: where a run keeps them, and which run they belong to."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from transformers.trainer_utils import get_last_checkpoint

from stages.store import cache_folder


def checkpoint_folder(settings: Mapping[str, object], files: list[Path]) -> Path:
    """Return the folder for checkpoints of exactly this run, outside what DVC deletes.

    Args:
        settings: everything from params.yaml that the run depends on, and the device and precision it came to.
        files: data, weights and code, by content.
    """
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for package in ("torch", "transformers", "accelerate"):
        key.update(version(package).encode())
    for file in files:
        with file.open("rb") as content:
            key.update(hashlib.file_digest(content, "sha256").digest())
    return cache_folder() / "checkpoints" / key.hexdigest()[:32]


def last_checkpoint(folder: Path) -> Path | None:
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    return Path(last) if last else None
