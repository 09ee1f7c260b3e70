"""The last two stages as DVC runs them: cross-validation with its learning curve, and everything that is measured."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import stages.evaluate
import stages.train
from stages.corpus.tables import CLASSES, LABELS, SPLIT, write_table
from stages.runtime.errors import UserError
from tests.conftest import make_corpus
from tests.small_training import SMALL, frame


@pytest.fixture
def measured(
    tiny_model: Callable[[str], Path], workspace: Path, set_param: Callable[[str, object], None]
) -> dict[str, Any]:
    """The metrics of a tiny model with folds, a learning curve, gold labels and an override."""
    sides = {"train": frame(8), "validation": frame(2, "validation"), "test": frame(4, "test")}
    labels = pl.concat(sides.values()).select("document_id", "label", category="label")
    # test-rail-0 was annotated as bread, and corrected.
    wrong = pl.col("document_id") == "test-rail-0"
    labels = labels.with_columns(category=pl.when(wrong).then(pl.lit("bread")).otherwise("category"))
    write_table(labels, LABELS)
    write_table(pl.DataFrame({"category": ["bread", "rail"], "label": ["bread", "rail"]}), CLASSES)
    for side, documents in sides.items():
        write_table(documents, SPLIT / f"{side}.parquet")
    decided = [f"train-{label}-{place},{label}" for label in ("bread", "rail") for place in range(8)]
    make_corpus(workspace / "corpus", {}, gold=["test-bread-1,bread", "test-rail-1,rail"], overrides=decided)
    changes = {f"train.{key}": value for key, value in SMALL.items()} | {
        "corpus": "corpus",
        "model.name": str(tiny_model("bert")),
        "model.max_length": 32,
        "runtime.device": "cpu",
        "train.trainable_layers": 1,
        "train.folds": 2,
        "train.learning_curve": True,
        "evaluate.resamples": 200,
    }
    for key, value in changes.items():
        set_param(key, value)
    stages.train.main()
    stages.evaluate.main()
    found: dict[str, Any] = json.loads(Path("metrics/evaluate.json").read_text())
    return found


def test_every_number_and_table_is_there_and_the_same_again(measured: dict[str, Any]) -> None:
    assert {
        "documents": ["train", "test"],
        "test": ["macro_f1", "weighted_f1", "accuracy", "intervals"],
        "train": ["macro_f1", "weighted_f1", "accuracy"],
        "baselines": ["majority", "tfidf", "embeddings"],
        "paired": ["majority", "tfidf", "embeddings"],
        "calibration": ["temperature", "before", "after"],
        "coverage": ["0.5", "0.7", "0.9"],
        "gold": ["documents", "test", "baselines", "labels"],
        "overrides": ["changed", "before", "after"],
        "label_suspects": ["documents", "suspects", "share", "from"],
        "per_class": ["bread", "rail"],
    }.items() <= {name: list(part) for name, part in measured.items() if isinstance(part, dict)}.items()
    curve = measured["learning_curve"]
    assert measured["overrides"]["changed"] == 1
    assert abs(measured["overrides"]["before"]["accuracy"] - measured["test"]["accuracy"]) == 0.125
    # These texts are easy: whoever is given the right labels with them learns them.
    assert [measured["baselines"][name]["accuracy"] for name in ("majority", "tfidf", "embeddings")] == [0.5, 1, 1]
    assert (measured["label_suspects"]["documents"], measured["label_suspects"]["from"]) == (20, "folds")
    assert [point["share"] for point in curve] == [0.25, 0.5, 0.75, 1.0]
    assert list(curve[0]) == ["share", "documents", "macro_f1", "low", "high"]
    columns = {file.name: file.read_text().splitlines()[0] for file in Path("metrics/evaluate").glob("*.csv")}
    assert {
        "confusion.csv": "actual,predicted",
        "per_class.csv": "class,f1",
        "errors.csv": "document_id,given,predicted,probability",
        "reliability.csv": "confidence,accuracy,documents,scaling",
        "coverage.csv": "threshold,coverage,accuracy",
        "learning_curve.csv": "documents,macro_f1,low,high",
        "label_suspects.csv": "document_id,given,suggested,confidence,side",
        "class_overlaps.csv": "class,other,documents,share,suggestion",
    }.items() <= columns.items()
    for name in ("label_suspects", "least_confident"):  # All training documents have been decided about.
        rows = Path(f"metrics/evaluate/{name}.csv").read_text().splitlines()[1:]
        assert all(row.startswith("validation-") for row in rows)
    assert len(Path("metrics/evaluate/learning_curve.csv").read_text().splitlines()) == 5

    # And once more, to the byte.
    files = (Path("metrics/evaluate.json"), *Path("metrics/evaluate").iterdir())
    before = {file: file.read_bytes() for file in files}
    stages.evaluate.main()
    assert {file: file.read_bytes() for file in before} == before


def test_folds_of_another_split_are_one_line(measured: dict[str, Any]) -> None:
    for side in ("train", "validation"):
        documents = frame(8 if side == "train" else 2, side).with_columns(
            document_id="another-" + pl.col("document_id")
        )
        write_table(documents, SPLIT / f"{side}.parquet")
    with pytest.raises(UserError, match="no predictions for 'another-train-bread-0'"):
        stages.evaluate.main()
