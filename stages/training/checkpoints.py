"""Checkpoints: where a run keeps them, which run they belong to, and which of them is whole."""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.files import write_atomically
from stages.store import cache_folder

log = logging.getLogger(__name__)

STATE = "trainer_state.json"
# Where one of these is missing, the Trainer goes on without a word, or fails.
PARTS = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")


def checkpoint_folder(settings: Mapping[str, object], files: list[Path]) -> Path:
    """Return the folder for checkpoints of exactly this run, outside what DVC deletes.

    Args:
        settings: everything from params.yaml that the run depends on, the device and precision it came to, and the
            versions of packages.
        files: data, weights and code, by name and content.
    """
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for file in files:
        with file.open("rb") as content:
            key.update(f"{file.name}\0{hashlib.file_digest(content, 'sha256').hexdigest()}\0".encode())
    return cache_folder() / "checkpoints" / key.hexdigest()[:32]


def last_checkpoint(folder: Path) -> Path | None:
    """Return the last checkpoint in `folder` that training can go on from, and remove those that it cannot.

    It can from one that is whole and whose best epoch up to then is there, whole, too: without that the Trainer would
    end with the last epoch's model in the place of the best one's.
    """
    states = {}
    for checkpoint in folder.glob("checkpoint-*"):
        state = _read_state(checkpoint)
        if state is None:
            shutil.rmtree(checkpoint)
        else:
            states[checkpoint] = state
    for checkpoint, state in sorted(states.items(), key=lambda item: item[1]["global_step"], reverse=True):
        best = folder / f"checkpoint-{state['best_global_step']}"
        if best in states:
            # Written by a run that called this folder by another name: from a queue's tree, or before a move.
            if state["best_model_checkpoint"] != str(best):
                state["best_model_checkpoint"] = str(best)
                write_atomically(checkpoint / STATE, json.dumps(state).encode())
            return checkpoint
        shutil.rmtree(checkpoint)
    return None


def _read_state(checkpoint: Path) -> dict[str, Any] | None:
    """Return the Trainer's state, None if the checkpoint is half-written or half-deleted."""
    try:
        # The Trainer writes it last.
        state: dict[str, Any] = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return state if all((checkpoint / part).is_file() for part in PARTS) else None
