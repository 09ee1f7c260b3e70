"""Lint, format and types are part of the tests."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    "command", [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy", "--no-error-summary")]
)
def test_the_code_passes(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_stage_is_long() -> None:
    long = [file.name for file in (ROOT / "stages").rglob("*.py") if len(file.read_text().splitlines()) > 400]
    assert long == []
