"""How well an annotator agrees with people."""

import polars as pl
from sklearn.metrics import accuracy_score, cohen_kappa_score

from stages.classes.names import normal


def kappa(one: list[str], other: list[str]) -> float | None:
    """Return Cohen's kappa (Cohen 1960), rounded; None where it is undefined: one and the same category throughout."""
    return round(float(cohen_kappa_score(one, other)), 4) if len({*one, *other}) > 1 else None


def agreement(annotations: pl.DataFrame, gold: pl.DataFrame, examples: pl.DataFrame) -> dict[str, object]:
    """Compare annotated categories with gold ones on the documents that have both, examples left out.

    Case and spaces in category names are forgiven.

    Returns:
        `documents` (compared), and unless that is 0 `accuracy`, `kappa`, and `per_category`: for each
        gold category its `documents` and the share of them that `agree`.
    """
    both = (
        annotations.filter(pl.col("status") == "ok")
        .join(gold.select("document_id", gold="category"), on="document_id")
        .join(examples.select("document_id"), on="document_id", how="anti")
    )
    if both.is_empty():
        return {"documents": 0}
    given = [normal(name) for name in both["category"]]
    true = [normal(name) for name in both["gold"]]
    return {
        "documents": len(both),
        "accuracy": round(float(accuracy_score(true, given)), 4),
        "kappa": kappa(true, given),
        "per_category": {
            name: {"documents": total, "agree": round(agreed / total, 4)}
            for name, total, agreed in pl.DataFrame(
                {"gold": true, "same": [a == b for a, b in zip(true, given, strict=True)]}
            )
            .group_by("gold")
            .agg(pl.len(), pl.col("same").sum().alias("agreed"))
            .sort("gold")
            .iter_rows()
        },
    }
