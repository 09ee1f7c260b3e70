"""Checkpoints: whose they are, which of them training goes on from, and one run at a time."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.training.checkpoints import PARTS, alone_with, checkpoint_folder, last_checkpoint
from tests.conftest import ROOT


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


HOLD = """
import sys, time
from pathlib import Path
from stages.training.checkpoints import alone_with
with alone_with(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


def test_a_run_waits_for_the_same_one_but_not_for_another_nor_for_a_dead_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "one"], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with alone_with(tmp_path / "other"):
            assert caplog.text == ""
        killer = subprocess.Popen(["sh", "-c", f"sleep 2; kill -9 {holder.pid}"])
        with alone_with(tmp_path / "one"):
            assert "another process trains with the same params, data and code: waiting" in caplog.text
            assert holder.wait(0.5) == -signal.SIGKILL
        killer.wait()
    finally:
        holder.kill()
        holder.wait()
    caplog.clear()
    with alone_with(tmp_path / "one"):
        assert caplog.text == ""
    assert list(tmp_path.iterdir()) == []


TAKE_TURNS = """
import sys
from pathlib import Path
from stages.training.checkpoints import alone_with
folder = Path(sys.argv[1])
for _ in range(20):
    with alone_with(folder):
        folder.mkdir()
        folder.rmdir()
"""


def test_never_are_two_runs_in_one_folder_although_its_lock_comes_and_goes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKE_TURNS, str(tmp_path / "run")]
    several = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(100) for process in several] == [0] * 4
