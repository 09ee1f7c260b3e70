"""The parquet tables that stages hand to each other: their columns, checked on reading and writing."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from stages.files import clear_temporary, replacing, write_parquet
from stages.runtime.errors import UserError

DOCUMENTS = Path("data/extracted/documents.parquet")
KEYS = Path("data/extracted/keys.parquet")
ANNOTATIONS = Path("data/annotated/annotations.parquet")
RESPONSES = Path("data/annotated/responses.parquet")
LABELS = Path("data/merged/labels.parquet")
CLASSES = Path("data/merged/classes.parquet")
SPLIT = Path("data/split")
OUT_OF_FOLD = Path("data/folds/out_of_fold.parquet")
LEARNING_CURVE = Path("data/folds/learning_curve.parquet")

# Rows that are read or written at a time where texts are not all kept in memory.
SLICE = 256

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
        "language": text,
    },
    # Of the store, null where the result is not kept; and the title before metadata.csv. No other stage reads them.
    "keys.parquet": {"document_id": text, "key": text, "title_in_file": text},
    "annotations.parquet": {
        "document_id": text,
        "category": text,
        "confidence": real,
        "annotator": text,
        "status": text,
        "error": text,
    },
    "responses.parquet": {"document_id": text, "key": text, "response": text},
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
    # Predictions by models that learned from a share of what the fold's model learned from, so many documents.
    "learning_curve.parquet": {
        "share": real,
        "documents": number,
        "fold": number,
        "document_id": text,
        "label": text,
        "predicted": text,
    },
}


def scan_table(path: Path) -> pl.LazyFrame:
    """Open one of the tables, named by its file name, without reading its rows.

    Raises:
        UserError: if the file is missing, is no parquet, or a column is missing or of another type.
    """
    frame = pl.scan_parquet(path)
    try:
        schema = frame.collect_schema()
    except FileNotFoundError:
        raise UserError(f"{path} is missing: `dvc repro` makes it, `dvc checkout` restores it") from None
    except pl.exceptions.ComputeError as fault:
        raise UserError(f"{path} cannot be read as parquet ({str(fault).splitlines()[0]}): `dvc checkout`") from None
    for column, kind in COLUMNS[path.name].items():
        if column not in schema:
            raise UserError(f"{path}: column {column!r} is missing: `dvc repro` makes the table anew")
        if schema[column] != kind:
            raise UserError(f"{path}: column {column!r} is {schema[column]}, not {kind}")
    return frame


def read_table(path: Path) -> pl.DataFrame:
    """Read one of the tables, as `scan_table` opens it."""
    return scan_table(path).collect()


def read_texts(documents: pl.LazyFrame, wanted: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield id and text of the wanted documents, in the table's order, a few in memory at a time."""
    names = pl.Series(list(wanted), dtype=pl.String).implode()
    rows = documents.select("document_id", "text").filter(pl.col("document_id").is_in(names))
    # One pass over the file: slices of it would each look for their place anew.
    for batch in rows.collect_batches(chunk_size=SLICE, maintain_order=True):
        yield from batch.iter_rows()


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Write a table, rows sorted by its first column, in the columns and types of its name.

    Raises:
        polars.exceptions.PolarsError: if a column is missing or does not fit its type (a bug).
        OSError: if the disk is full; nothing is left behind.
    """
    ordered = _typed(frame, path).sort(next(iter(COLUMNS[path.name])), maintain_order=True)
    write_parquet(path, ordered)


@contextmanager
def table_in_parts(path: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Yield what writes a part of a table, sorted by its first column, behind those before it, as a row group.

    The table is there when all is written, whole; after an error it is what it was before.

    Raises:
        polars.exceptions.PolarsError, OSError: as `write_table`.
    """
    clear_temporary(path.parent)
    schema = pl.DataFrame(schema=COLUMNS[path.name]).to_arrow().schema
    with (
        replacing(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", write_statistics=False) as writer,
    ):
        yield lambda part: writer.write_table(_typed(part, path).to_arrow())


def _typed(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    return frame.select(pl.col(name).cast(kind) for name, kind in COLUMNS[path.name].items())
