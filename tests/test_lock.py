"""The lock by which processes that would do the same work take turns."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stages.runtime.lock import alone_with
from tests.conftest import ROOT

HOLD = """
import sys, time
from pathlib import Path
from stages.runtime.lock import alone_with
with alone_with(Path(sys.argv[1]), "another"):
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
        with alone_with(tmp_path / "other", "another"):
            assert caplog.text == ""
        killer = subprocess.Popen(["sh", "-c", f"sleep 2; kill -9 {holder.pid}"])
        with alone_with(tmp_path / "one", "another trains the same"):
            assert "another trains the same: waiting until it ends" in caplog.text
            assert holder.wait(0.5) == -signal.SIGKILL
        killer.wait()
    finally:
        holder.kill()
        holder.wait()
    caplog.clear()
    with alone_with(tmp_path / "one", "another trains the same"):
        assert caplog.text == ""
    assert list(tmp_path.iterdir()) == []


TAKE_TURNS = """
import sys
from pathlib import Path
from stages.runtime.lock import alone_with
folder = Path(sys.argv[1])
for _ in range(20):
    with alone_with(folder, "another"):
        folder.mkdir()
        folder.rmdir()
"""


def test_never_are_two_runs_in_one_folder_although_its_lock_comes_and_goes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKE_TURNS, str(tmp_path / "run")]
    several = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(100) for process in several] == [0] * 4
