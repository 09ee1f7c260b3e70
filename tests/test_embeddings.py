"""Embeddings are computed once, and again when something that they depend on is another."""

from pathlib import Path

import numpy as np
import pytest

from stages.backbone.bundled import verified_bundled_folder
from stages.embeddings import Embedder
from stages.store import made_by


def test_a_stored_vector_is_of_the_same_code_packages_and_device(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    embedder = Embedder(verified_bundled_folder(), 256, "cpu")
    vector, parts = embedder.embed("flour and dough"), embedder.made_by
    monkeypatch.setattr(embedder, "_compute", lambda text: np.zeros(3, np.float32))
    assert set(parts) == {"code", "packages", "device", "files", "window"}
    for part in parts:
        embedder.made_by = {**parts, part: "another"}
        assert len(embedder.embed("flour and dough")) == 3
    embedder.made_by = dict(parts)
    assert np.array_equal(embedder.embed("flour and dough"), vector)


def test_the_maker_of_a_stored_value_changes_with_its_code(tmp_path: Path) -> None:
    first, second = tmp_path / "first.py", tmp_path / "second.py"
    first.write_text("a = 1")
    second.write_text("a = 2")
    assert made_by((first,), ("torch",)) != made_by((second,), ("torch",))
    assert made_by((first,), ("torch",)) != made_by((first,), ("torch", "numpy"))
