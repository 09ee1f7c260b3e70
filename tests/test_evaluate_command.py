"""The last two stages as DVC runs them: cross-validation with its learning curve, and everything that is measured."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import stages.evaluate
import stages.train
from stages.corpus.tables import CLASSES, LABELS, SPLIT, write_table
from tests.conftest import make_corpus
from tests.small_training import SMALL, frame


@pytest.fixture
def measured(
    tiny_model: Callable[[str], Path], workspace: Path, set_param: Callable[[str, object], None]
) -> dict[str, object]:
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
    make_corpus(workspace / "corpus", {}, gold=["test-bread-1,bread", "test-rail-1,rail"])
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
    found: dict[str, object] = json.loads(Path("metrics/evaluate.json").read_text())
    return found


def test_every_number_and_table_is_there_and_the_same_again(measured: dict[str, object]) -> None:
    assert {
        "documents": ["train", "test"],
        "test": ["macro_f1", "weighted_f1", "accuracy", "intervals"],
        "train": ["macro_f1", "weighted_f1", "accuracy"],
        "baselines": ["majority", "tfidf", "embeddings"],
        "paired": ["majority", "tfidf", "embeddings"],
        "calibration": ["temperature", "before", "after"],
        "coverage": ["0.5", "0.7", "0.9"],
        "gold": ["documents", "test", "baselines", "labels"],
        "overrides": ["documents", "before", "after"],
        "per_class": ["bread", "rail"],
    }.items() <= {name: list(part) for name, part in measured.items() if isinstance(part, dict)}.items()
    overrides, curve = measured["overrides"], measured["learning_curve"]
    assert isinstance(overrides, dict)
    assert overrides["documents"] == 1
    assert overrides["before"]["accuracy"] == 1 - overrides["after"]["accuracy"]
    assert isinstance(curve, list)
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
    }.items() <= columns.items()
    assert len(Path("metrics/evaluate/learning_curve.csv").read_text().splitlines()) == 5

    # And once more, to the byte.
    files = (Path("metrics/evaluate.json"), *Path("metrics/evaluate").iterdir())
    before = {file: file.read_bytes() for file in files}
    stages.evaluate.main()
    assert {file: file.read_bytes() for file in before} == before
