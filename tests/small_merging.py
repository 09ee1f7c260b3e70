"""Annotations made up for the tests of merge_classes, and the stage run on them."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from stages.classes.params import MergeClassesParams
from stages.corpus.tables import ANNOTATIONS, COLUMNS, DOCUMENTS, write_table
from stages.merge_classes import Merged, merge_classes
from tests.conftest import edit_params, make_corpus, run_stage


def annotated(categories: Mapping[str, str | None]) -> pl.DataFrame:
    """Make an annotations table; a document without a category was skipped."""
    return pl.DataFrame(
        {
            "document_id": list(categories),
            "category": pl.Series(list(categories.values()), dtype=pl.String),
            "status": ["skipped" if category is None else "ok" for category in categories.values()],
        }
    ).with_columns(confidence=pl.lit(None, pl.Float64), annotator=pl.lit("file"), error=pl.lit(None, pl.String))


def rows(first: str, second: str, pairs: Mapping[str, str]) -> pl.DataFrame:
    return pl.DataFrame({first: list(pairs), second: list(pairs.values())}, {first: pl.String, second: pl.String})


def merge(
    categories: Mapping[str, str | None],
    *,
    twins: Mapping[str, str] | None = None,
    classes: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
    min_count: int = 1,
    rare: str = "other",
) -> Merged:
    """Merge `categories` (by document); `twins` are documents that are duplicates, by the original's name."""
    return merge_classes(
        annotated(categories),
        {name: name for name in categories} | dict(twins or {}),
        rows("category", "class", classes or {}),
        rows("document_id", "class", overrides or {}),
        MergeClassesParams.model_validate({"min_count": min_count, "rare": rare, "similarity": 0.8}),
    )


def labels(merged: Merged) -> dict[str, str]:
    return dict(merged.labels.select("document_id", "label").iter_rows())


def many(category: str, size: int) -> dict[str, str]:
    """Return `size` documents of one category: `many("x", 2)` is x0, x1."""
    return {f"{category}{number}": category for number in range(size)}


def run_merge(
    workspace: Path, given: dict[str, str], twins: dict[str, str] | None = None, **tables: list[str]
) -> subprocess.CompletedProcess[str]:
    """Run the stage on `given` (categories by document), which categories.csv lists unless `tables` says otherwise."""
    tables = {"categories": [f"{name}," for name in sorted(set(given.values()))], **tables}
    corpus = make_corpus(workspace / "corpus", {f"{name}.md": name for name in given}, **tables)
    edit_params(workspace / "params.yaml", {"corpus": str(corpus)})
    documents = pl.DataFrame({"document_id": list(given)}).with_columns(
        duplicate_of=pl.Series([(twins or {}).get(name) for name in given], dtype=pl.String)
    )
    absent = {name: kind for name, kind in COLUMNS[DOCUMENTS.name].items() if name not in documents.columns}
    write_table(documents.with_columns(pl.lit(None, kind).alias(name) for name, kind in absent.items()), DOCUMENTS)
    write_table(annotated(given), ANNOTATIONS)
    return run_stage("merge_classes", cwd=workspace)
