"""The annotator `file`: labels that people (or another tool) wrote into labels.csv."""

import polars as pl


def annotate(documents: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Look each document up in `labels` (`document_id`, `category`); without a row it is `skipped`.

    Returns:
        `document_id`, `category`, `confidence` (null), `status`, `error`, in the order of `documents`.
    """
    found = pl.col("category").is_not_null()
    return (
        documents.select("document_id")
        .join(labels.select("document_id", "category"), on="document_id", how="left", maintain_order="left")
        .with_columns(
            confidence=pl.lit(None, pl.Float64),
            status=pl.when(found).then(pl.lit("ok")).otherwise(pl.lit("skipped")),
            error=pl.when(found).then(None).otherwise(pl.lit("no row in labels.csv")),
        )
    )
