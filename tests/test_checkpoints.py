"""Checkpoints: whose they are, and which of them training goes on from."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.training.checkpoints import PARTS, checkpoint_folder, last_checkpoint


def make_checkpoints(folder: Path, steps: dict[int, int]) -> None:
    """Make checkpoints as the Trainer leaves them: by step, and for each the best step up to there."""
    for step, best in steps.items():
        checkpoint = folder / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        for part in PARTS:
            (checkpoint / part).write_bytes(b"")
        state = {
            "global_step": step,
            "best_global_step": best,
            "best_model_checkpoint": str(folder / f"checkpoint-{best}"),
        }
        (checkpoint / "trainer_state.json").write_text(json.dumps(state))


def half_written(checkpoint: Path) -> None:
    text = (checkpoint / "trainer_state.json").read_text()
    (checkpoint / "trainer_state.json").write_text(text[: len(text) // 2])


@pytest.mark.parametrize(
    "damage",
    [
        half_written,
        shutil.rmtree,
        *(lambda folder, name=name: (folder / name).unlink() for name in ("trainer_state.json", *PARTS)),
    ],
)
@pytest.mark.parametrize(
    ("damaged", "last", "kept"),
    [(30, 20, {10, 20}), (20, 30, {10, 30}), (10, None, set())],
    ids=["the last", "neither the last nor the best", "the best"],
)
def test_training_goes_on_from_the_last_checkpoint_that_is_whole_and_has_its_best(
    damaged: int, last: int | None, kept: set[int], damage: Callable[[Path], object], tmp_path: Path
) -> None:
    make_checkpoints(tmp_path, {10: 10, 20: 10, 30: 10})
    damage(tmp_path / f"checkpoint-{damaged}")
    assert last_checkpoint(tmp_path) == (tmp_path / f"checkpoint-{last}" if last else None)
    assert {path.name for path in tmp_path.iterdir()} == {f"checkpoint-{step}" for step in kept}


def test_a_best_checkpoint_that_has_gone_costs_the_epochs_since_the_one_before(tmp_path: Path) -> None:
    make_checkpoints(tmp_path, {5: 5, 90: 5, 100: 95})  # by number and not by name
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-90"
    assert not (tmp_path / "checkpoint-100").exists()


def test_where_there_is_no_checkpoint_training_starts_anew(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path / "none") is None


def test_checkpoints_belong_to_their_settings_data_and_code(workspace: Path) -> None:
    data = workspace / "data"
    data.write_text("one")
    folder = checkpoint_folder({"lr": 1}, [data])
    assert checkpoint_folder({"lr": 1}, [data]) == folder
    assert checkpoint_folder({"lr": 2}, [data]) != folder
    data.write_text("two")
    assert checkpoint_folder({"lr": 1}, [data]) != folder
