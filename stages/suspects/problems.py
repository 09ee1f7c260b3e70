"""All that is found about the labels, as metrics and tables."""

from collections.abc import Collection

import polars as pl

from stages.files import Metrics
from stages.suspects.doubts import OutOfFold, find_suspects, least_confident
from stages.suspects.overlaps import class_overlaps


def checked_documents(documents: pl.DataFrame, overrides: pl.DataFrame) -> set[str]:
    """Return the documents a person has decided about: a decision is about a text, so copies of it are decided, too.

    Args:
        documents: `document_id`, `text`.
        overrides: `document_id`.
    """
    decided = documents.join(overrides, on="document_id", how="semi")
    return set(documents.join(decided, on="text", how="semi")["document_id"])


def label_problems(found: OutOfFold, source: str, checked: Collection[str]) -> tuple[Metrics, dict[str, pl.DataFrame]]:
    """Return the metrics `label_suspects` and the tables `label_suspects`, `least_confident` and `class_overlaps`.

    Args:
        source: where the probabilities come from (folds or embeddings).
        checked: documents a person has decided about in overrides.csv: they are no suspects any more.
    """
    suspects = find_suspects(found).filter(~pl.col("document_id").is_in(sorted(checked)))
    documents = len(found.documents)
    metrics = {
        "documents": documents,
        "suspects": len(suspects),
        "share": round(len(suspects) / documents, 4),
        "from": source,
    }
    rest = least_confident(found, {*suspects["document_id"], *checked})
    return metrics, {
        "label_suspects": suspects,
        "least_confident": rest,
        "class_overlaps": class_overlaps(found),
    }
