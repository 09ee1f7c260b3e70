"""The tables behind the plots of an evaluation."""

import numpy as np
import polars as pl

from stages.evaluation.calibration import coverage, reliability, scaled
from stages.files import Metrics

CURVE = {
    "share": pl.Float64,
    "documents": pl.Int64,
    "macro_f1": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}


def tables(
    test: pl.DataFrame, labels: list[str], logits: np.ndarray, temperature: float, metrics: Metrics
) -> dict[str, pl.DataFrame]:
    """Return the table of each plot by its name.

    Args:
        test: `document_id`, `label`.
        labels: the classes, in the order of the logits.
        logits: [documents, classes] of the test documents.
        temperature: what they are divided by.
        metrics: as `evaluate` returns them.
    """
    before, after = scaled(logits, 1.0), scaled(logits, temperature)
    predicted = [labels[place] for place in logits.argmax(axis=1)]
    true = np.array([labels.index(label) for label in test["label"]])
    curve = pl.DataFrame(metrics.get("learning_curve", []), schema=CURVE).drop("share")
    return {
        "confusion": test.select(actual="label").with_columns(predicted=pl.Series(predicted)),
        "per_class": pl.DataFrame([{"class": name, "f1": row["f1"]} for name, row in metrics["per_class"].items()]),
        "errors": list_errors(test, predicted, after.max(axis=1)),
        "reliability": pl.concat(
            [
                reliability(before, true).with_columns(scaling=pl.lit("before")),
                reliability(after, true).with_columns(scaling=pl.lit("after")),
            ]
        ),
        "coverage": coverage(after, true).drop_nulls(),
        "learning_curve": curve,
    }


def list_errors(test: pl.DataFrame, predicted: list[str], probability: np.ndarray) -> pl.DataFrame:
    """Return the test documents the model got wrong, most confident first.

    Args:
        probability: of the predicted class, one for each test document.
    """
    return (
        test.select("document_id", given="label")
        .with_columns(predicted=pl.Series(predicted), probability=pl.Series(probability.astype(np.float64)).round(4))
        .filter(pl.col("given") != pl.col("predicted"))
        .sort("probability", "document_id", descending=[True, False])
    )
