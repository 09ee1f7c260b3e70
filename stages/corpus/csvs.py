"""The CSV files of a corpus: read strictly, each fault named by file, line or column."""

from pathlib import Path

import polars as pl

from stages.corpus.documents import printable
from stages.runtime.errors import UserError

HEADERS = {
    "metadata.csv": ("document_id",),
    "categories.csv": ("category", "description"),
    "labels.csv": ("document_id", "category"),
    "examples.csv": ("document_id", "category"),
    "gold.csv": ("document_id", "category"),
    "classes.csv": ("category", "class"),
    "overrides.csv": ("document_id", "class"),
}


def read_csv(corpus: Path, name: str) -> pl.DataFrame:
    """Read one of the corpus's CSV files, every column as text, cells trimmed, ids in form NFC.

    The first column of each is its key: a row without one, or a key given twice, is an error.
    Rows without any cell filled are left out. A header alone gives an empty frame.

    Raises:
        UserError: if the file is missing, is no UTF-8 CSV, lacks a column, or repeats a key.
    """
    path, columns = corpus / name, HEADERS[name]
    header = ",".join(columns)
    try:
        frame = pl.read_csv(path, infer_schema=False, encoding="utf8").with_columns(pl.all().fill_null(""))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: make it (the line {header!r} alone means none)") from None
    except pl.exceptions.NoDataError:
        raise UserError(f"{path} is empty: its first line must be {header!r}") from None
    except (pl.exceptions.ComputeError, pl.exceptions.InvalidOperationError, pl.exceptions.SchemaError) as fault:
        raise UserError(f"{path} cannot be read as a UTF-8 CSV table: {str(fault).splitlines()[0]}") from None
    frame = frame.rename({column: column.strip().removeprefix("\ufeff") for column in frame.columns})
    if missing := [column for column in columns if column not in frame.columns]:
        raise UserError(f"{path}: column {missing[0]!r} is missing: the first line must hold {header!r}")
    frame = frame.with_columns(pl.all().str.strip_chars()).filter(pl.any_horizontal(pl.all() != ""))
    for column in columns if name != "categories.csv" else columns[:1]:
        if (frame[column] == "").any():
            row = frame.with_row_index(offset=2).filter(pl.col(column) == "")["index"][0]
            raise UserError(f"{path}: row {row}: {column!r} is empty")
    if columns[0] == "document_id":
        frame = frame.with_columns(pl.col("document_id").map_elements(printable, return_dtype=pl.String))
    if frame[columns[0]].is_duplicated().any():
        twice = frame.filter(frame[columns[0]].is_duplicated())[columns[0]][0]
        raise UserError(f"{path}: {columns[0]} {twice!r} stands there twice: keep one row of it")
    return frame


def some(names: list[str], limit: int = 5) -> str:
    """List a few names for a message: `'a', 'b' and 3 more`."""
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")
