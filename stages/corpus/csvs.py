"""The CSV files of a corpus: read strictly, each fault named by file, line or column."""

import csv
import io
from collections import Counter
from itertools import zip_longest
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
    """Read one of the corpus's CSV files, every column as text, ids in form NFC, the other cells trimmed.

    The first column of each is its key: a row without one, or a key given twice, is an error.
    Rows without any cell filled are left out. A header alone gives an empty frame.

    Raises:
        UserError: if the file is missing, is no UTF-8 CSV, lacks a column, or repeats a column or key.
    """
    columns = HEADERS[name]
    return read_rows(corpus / name, columns, columns if name != "categories.csv" else columns[:1])


def read_rows(path: Path, columns: tuple[str, ...], filled: tuple[str, ...]) -> pl.DataFrame:
    """Read a CSV file as `read_csv` does.

    Args:
        columns: that it must have, the key first.
        filled: those of them in which no cell may be empty.

    Raises:
        UserError: as `read_csv`.
    """
    header = ",".join(columns)
    try:
        rows = _rows(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: make it (the line {header!r} alone means none)") from None
    if not rows:
        raise UserError(f"{path} is empty: its first line must be {header!r}")
    names = [cell.strip() for cell in rows.pop(min(rows))]
    if missing := [column for column in columns if column not in names]:
        raise UserError(f"{path}: column {missing[0]!r} is missing: the first line must hold {header!r}")
    if twice := [column for column, times in Counter(names).items() if column and times > 1]:
        raise UserError(f"{path}: column {twice[0]!r} stands there twice: keep one")
    table: list[dict[str, str]] = []
    for number, cells in rows.items():
        if any(cell.strip() for cell in cells[len(names) :]):
            raise UserError(f"{path}: row {number} has more cells than the header: put quotes around commas in a cell")
        # Spaces belong to a file's name, and so to its id.
        row = {
            column: printable(cell) if column == "document_id" and cell.strip() else cell.strip()
            for column, cell in zip_longest(names, cells[: len(names)], fillvalue="")
        }
        if empty := [column for column in filled if not row[column]]:
            raise UserError(f"{path}: row {number}: {empty[0]!r} is empty")
        table.append(row)
    if again := [key for key, times in Counter(row[columns[0]] for row in table).items() if times > 1]:
        raise UserError(f"{path}: {columns[0]} {again[0]!r} stands there twice: keep one row of it")
    return pl.DataFrame(table, schema=dict.fromkeys((name for name in names if name), pl.String))


def _rows(path: Path) -> dict[int, list[str]]:
    """Return the rows that hold anything, by their number as a spreadsheet counts."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = fault.object[: fault.start].count(b"\n") + 1
        raise UserError(f"{path} is no UTF-8 text (line {line}): save it as CSV UTF-8") from None
    first = text.partition("\n")[0]
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if separator in first and "," not in first:
            raise UserError(f"{path}: its columns are separated by {name}: save it with commas")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return {number: cells for number, cells in enumerate(reader, start=1) if any(cell.strip() for cell in cells)}
    except csv.Error as fault:
        raise UserError(f"{path} cannot be read as a CSV table: line {reader.line_num}: {fault}") from None


def some(names: list[str], limit: int = 5) -> str:
    """List a few names for a message: `'a', 'b' and 3 more`."""
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")
