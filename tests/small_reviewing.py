"""A corpus after a run, small enough to review in a test."""

from pathlib import Path

import polars as pl

from stages.corpus.tables import ANNOTATIONS, COLUMNS, DOCUMENTS, LABELS, write_table
from stages.files import write_csv
from stages.reviewing.queues import LEAST_CONFIDENT, SUSPECTS
from tests.conftest import edit_params, make_corpus

# Whose label the model doubts, and how sure it is of another; then whom it is unsure about.
DOUBTED = {"loaf": ("rail", "bread", 0.93), "tram": ("bread", "rail", 0.81), "bun": ("rail", "bread", 0.64)}
UNSURE = {"ferry": ("ships", "rail", 0.35), "cab": ("rail", "rail", 0.41)}
SURE = {"roll": "bread", "signal": "rail", "tanker": "ships"}
LABELS_GIVEN = {name: given for name, (given, *_) in {**DOUBTED, **UNSURE}.items()} | SURE
# In the order in which they are reviewed.
ORDER = [*DOUBTED, *UNSURE]
TEXT = "<b>Not bold</b> & <script>alert(1)</script> " + "A long line about it.\n" * 200


def reviewable(folder: Path, categories: list[str] | None = None, **rows: list[str]) -> Path:
    """Make corpus, tables and metrics of a run below `folder`, the current one; return the corpus.

    Args:
        categories: rows of categories.csv.
        rows: of the corpus's other CSV files (`overrides=["loaf,bread"]`).
    """
    listed = ["bread,Baking", "rail,Trains", "ships,Boats"] if categories is None else categories
    corpus = make_corpus(folder / "corpus", {"loaf.txt": "w"}, categories=listed, **rows)
    edit_params(folder / "params.yaml", {"corpus": "corpus"})
    names = sorted(LABELS_GIVEN)
    documents = pl.DataFrame({"document_id": [*names, "scan", "twin"]}).with_columns(
        title=pl.concat_str(pl.lit("All about a "), "document_id"),
        status=pl.Series(["ok"] * len(names) + ["empty", "duplicate"]),
        duplicate_of=pl.Series([None] * len(names) + [None, "roll"], dtype=pl.String),
    )
    documents = documents.with_columns(text=pl.concat_str("title", pl.lit("\n\n" + TEXT)))
    absent = {name: kind for name, kind in COLUMNS[DOCUMENTS.name].items() if name not in documents.columns}
    write_table(documents.with_columns(pl.lit(None, kind).alias(name) for name, kind in absent.items()), DOCUMENTS)
    labels = [LABELS_GIVEN[name] for name in names]
    write_table(pl.DataFrame({"document_id": names, "category": labels, "label": labels}), LABELS)
    annotations = {"document_id": names, "category": labels, "status": ["ok"] * len(names)}
    absent = {name: kind for name, kind in COLUMNS[ANNOTATIONS.name].items() if name not in annotations}
    empty = [pl.lit(None, kind).alias(name) for name, kind in absent.items()]
    write_table(pl.DataFrame(annotations).with_columns(empty), ANNOTATIONS)
    suspects = [(name, *row, "train") for name, row in DOUBTED.items()]
    write_csv(
        SUSPECTS, pl.DataFrame(suspects, ["document_id", "given", "suggested", "confidence", "side"], orient="row")
    )
    unsure = [(name, *row) for name, row in UNSURE.items()]
    write_csv(LEAST_CONFIDENT, pl.DataFrame(unsure, ["document_id", "given", "predicted", "probability"], orient="row"))
    return corpus.relative_to(folder)
