"""The parquet tables that stages hand to each other: their columns, checked on reading and writing."""

from pathlib import Path

import polars as pl

from stages.files import write_parquet
from stages.runtime.errors import UserError

DOCUMENTS = Path("data/extracted/documents.parquet")
ANNOTATIONS = Path("data/annotated/annotations.parquet")
LABELS = Path("data/merged/labels.parquet")
CLASSES = Path("data/merged/classes.parquet")
SPLIT = Path("data/split")
OUT_OF_FOLD = Path("data/folds/out_of_fold.parquet")

text, number, real = pl.String(), pl.Int64(), pl.Float64()
# Documents of one group are duplicates of each other.
example: dict[str, pl.DataType] = {"document_id": text, "text": text, "label": text, "group": text}

COLUMNS: dict[str, dict[str, pl.DataType]] = {
    "documents.parquet": {
        "document_id": text,
        "path": text,
        "sha256": text,
        "title": text,
        "pages": number,
        "pages_read": number,
        "tokens": number,
        "markdown": text,
        "text": text,
        "status": text,
        "error": text,
        "duplicate_of": text,
    },
    "annotations.parquet": {
        "document_id": text,
        "category": text,
        "confidence": real,
        "annotator": text,
        "status": text,
        "error": text,
    },
    "labels.parquet": {"document_id": text, "category": text, "label": text},
    "classes.parquet": {"category": text, "label": text},
    "train.parquet": example,
    "validation.parquet": example,
    "test.parquet": example,
    "out_of_fold.parquet": {
        "document_id": text,
        "label": text,
        "fold": number,
        "predicted": text,
        "probability": real,
        "probabilities": pl.List(real),  # of each class, in the order of their names
    },
}


def read_table(path: Path) -> pl.DataFrame:
    """Read one of the tables, named by its file name.

    Raises:
        UserError: if the file is missing, is no parquet, or a column is missing or of another type.
    """
    try:
        frame = pl.read_parquet(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: `dvc repro` makes it, `dvc checkout` restores it") from None
    except pl.exceptions.ComputeError as fault:
        raise UserError(f"{path} cannot be read as parquet ({str(fault).splitlines()[0]}): `dvc checkout`") from None
    for column, kind in COLUMNS[path.name].items():
        if column not in frame.columns:
            raise UserError(f"{path}: column {column!r} is missing: `dvc repro` makes the table anew")
        if frame.schema[column] != kind:
            raise UserError(f"{path}: column {column!r} is {frame.schema[column]}, not {kind}")
    return frame


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Write a table, rows sorted by its first column, in the columns and types of its name.

    Raises:
        polars.exceptions.PolarsError: if a column is missing or does not fit its type (a bug).
        OSError: if the disk is full; nothing is left behind.
    """
    columns = COLUMNS[path.name]
    ordered = frame.select(pl.col(name).cast(kind) for name, kind in columns.items()).sort(next(iter(columns)))
    write_parquet(path, ordered)
