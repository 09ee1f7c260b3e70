"""Confident learning: the documents whose label is doubtful, and those nobody is sure about."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl

# More than a person goes through.
LEAST_CONFIDENT = 200


@dataclass(frozen=True)
class OutOfFold:
    """What models say about documents that they have not learned from.

    Attributes:
        documents: `document_id`, `label` (as given), `side` (train or validation).
        probabilities: documents x classes, calibrated; each row sums to 1.
        labels: the classes, in the order of the columns.
    """

    documents: pl.DataFrame
    probabilities: np.ndarray
    labels: list[str]

    def given(self) -> np.ndarray:
        """Return the place of each document's label among the classes."""
        place = {label: number for number, label in enumerate(self.labels)}
        return np.array([place[label] for label in self.documents["label"]], dtype=np.int64)

    def answers(self) -> pl.DataFrame:
        """Return `document_id`, `given`, `side`, `predicted` and `probability` (of `predicted`)."""
        return self.documents.select(
            "document_id",
            "side",
            given="label",
            predicted=pl.Series([self.labels[place] for place in self.probabilities.argmax(axis=1)], dtype=pl.String),
            probability=pl.Series(self.probabilities.max(axis=1), dtype=pl.Float64),
        )


def find_suspects(found: OutOfFold) -> pl.DataFrame:
    """Return the documents whose label is probably wrong, most doubtful first.

    Confident learning (Northcutt, Jiang and Chuang 2021, "Confident learning: estimating uncertainty in dataset
    labels", JAIR 70, equations 1 and 2): a document counts for a class if its probability reaches the mean that the
    documents given that class have, and is a suspect if the class it counts for is another than its own. So a class
    that the model is rarely sure of has a lower bar. The order is that of the probability of the given label.

    Returns:
        `document_id`, `given`, `suggested`, `confidence` (probability of `suggested`), `side`.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_self_confidence_for_each_label

    given = found.given()
    if len(set(given.tolist())) < 2:
        return _suspects(found, np.zeros(len(given), dtype=bool), np.zeros(len(given)))
    # One process: the others that it would start cost more than the search.
    doubted = find_label_issues(given, found.probabilities, filter_by="confident_learning", n_jobs=1)
    return _suspects(found, doubted, get_self_confidence_for_each_label(given, found.probabilities))


def _suspects(found: OutOfFold, doubted: np.ndarray, belief: np.ndarray) -> pl.DataFrame:
    return (
        found.answers()
        .with_columns(belief=pl.Series(belief, dtype=pl.Float64))
        .filter(pl.Series(doubted))
        .sort("belief", "document_id")
        .select("document_id", "given", suggested="predicted", confidence="probability", side="side")
    )


def least_confident(found: OutOfFold, without: Collection[str]) -> pl.DataFrame:
    """Return up to 200 documents that the models are least sure about, the least sure first.

    Args:
        without: documents to leave out (the suspects, those that a person has checked).

    Returns:
        `document_id`, `given`, `predicted`, `probability` (of `predicted`).
    """
    return (
        found.answers()
        .filter(~pl.col("document_id").is_in(sorted(without)))
        .sort("probability", "document_id")
        .select("document_id", "given", "predicted", "probability")
        .head(LEAST_CONFIDENT)
    )
