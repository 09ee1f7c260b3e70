"""What a model's answers are held against besides the labels: gold labels, and labels before they were corrected."""

import polars as pl

from stages.classes.names import normal


def true_labels(gold: pl.DataFrame, classes: pl.DataFrame) -> dict[str, str]:
    """Map documents with a gold category to the class they truly belong to.

    A category nothing was annotated with stands for itself (no classifier of this run can be right
    about it); one whose class was dropped is left out.

    Args:
        gold: `document_id`, `category`.
        classes: `category`, `label` (null: dropped).
    """
    class_of = {normal(category): label for category, label in classes.iter_rows()}
    found = {
        document: class_of.get(normal(category), category)
        for document, category in gold.select("document_id", "category").iter_rows()
    }
    return {document: label for document, label in found.items() if label is not None}


def labels_before(labels: pl.DataFrame, classes: pl.DataFrame) -> dict[str, str]:
    """Map documents whose label overrides.csv changed to the class that their annotated category stands for.

    Left out are those that had no class before: not annotated, or of a class that was dropped.

    Args:
        labels: `document_id`, `category`, `label` as merged, overrides applied to documents and their duplicates.
        classes: `category`, `label` (null: dropped).
    """
    before = labels.join(classes.rename({"label": "before"}), on="category", how="inner")
    changed = before.filter(pl.col("before") != pl.col("label"))
    return dict(changed.select("document_id", "before").iter_rows())
