"""Models from the Hub, against a small HTTP server that answers as the Hub does."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.hub_server import COMMIT, serve

MODEL = "chandar-lab/NeoBERT"
SCRIPT = """
import logging, sys
logging.basicConfig(level=logging.WARNING, format="%(message)s")
from stages.backbone.params import ModelParams
from stages.backbone.resolve import locate
from stages.runtime.errors import UserError
from stages.training.model import load_model, load_tokenizer
from datasets import ClassLabel
name, revision = sys.argv[1:]
try:
    folder = locate(name, revision)
except UserError as error:
    sys.exit(f"error: {error}")
params = ModelParams(name=name, revision=revision, pooling="auto", max_length=64, long_documents="truncate")
tokenizer = load_tokenizer(folder, name, 64)
model = load_model(folder, params, ClassLabel(names=["bread", "rail"]), 0.0)
logits = model.eval()(**tokenizer(["oven and dough", "train"], padding=True, return_tensors="pt")).logits
print(type(model).__module__, folder.name, tuple(logits.shape), bool(logits.isfinite().all()))
"""


@pytest.fixture
def hub(tiny_tokenizer: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a Hub that holds the golden NeoBERT with a tokenizer, and code that must not run."""
    folder = shutil.copytree(ROOT / "tests/golden/neobert/pretrained", tmp_path / "hub")
    (folder / "expected.safetensors").unlink()
    shutil.copytree(tiny_tokenizer, folder, dirs_exist_ok=True)
    (folder / "model.py").write_text("raise SystemExit('code of the Hub ran')\n")
    with serve(MODEL, folder) as hub:
        yield hub.address


def load(address: str, home: Path, revision: str, name: str = MODEL) -> subprocess.CompletedProcess[str]:
    environment = {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, name, revision],
        env={**os.environ, **environment},
        cwd=home.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_neobert_is_downloaded_once_without_its_code_and_its_commit_is_named(hub: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = load(hub, home, "main")
    assert first.returncode == 0, first.stderr
    assert first.stdout.split() == ["stages.neobert.modeling", COMMIT, "(2,", "2)", "True"]
    assert f"revision 'main' is commit {COMMIT} today" in first.stderr
    assert not list(home.rglob("model.py"))

    nowhere = "http://127.0.0.1:9"
    pinned = load(nowhere, home, COMMIT)
    assert pinned.returncode == 0, pinned.stderr
    assert pinned.stdout == first.stdout
    assert "today" not in pinned.stderr


@pytest.mark.parametrize(
    ("online", "name", "revision", "reason"),
    [
        (False, MODEL, "main", "no network and no copy downloaded before"),
        (True, MODEL, "v9", "404"),
        (True, "chandar-lab/NeoBART", "main", "404"),
    ],
)
def test_what_cannot_be_downloaded_is_one_line_that_says_what_to_do(
    online: bool, name: str, revision: str, reason: str, hub: str, tmp_path: Path
) -> None:
    done = load(hub if online else "http://127.0.0.1:9", tmp_path / "home", revision, name)
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith(f"error: model '{name}' (revision '{revision}'): ")
    assert reason in line
    assert "models/pretrained/" in line
