"""A CSV file that a person and the review page write in turns: one row changes, all else stays as it stands."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from stages.corpus.csvs import read_rows
from stages.corpus.documents import printable
from stages.files import replacing
from stages.runtime.errors import UserError

# Only a program that writes the file all the time makes more than a second attempt necessary.
ATTEMPTS = 5
BOM = "\ufeff"


class ChangedMeanwhileError(Exception):
    """The row is not what it was believed to be: someone else has written it. Nothing was changed."""

    def __init__(self, found: str | None) -> None:
        """Keep what stands there: `found`, None for no row."""
        super().__init__(found)
        self.found = found


class _SavedMeanwhileError(Exception):
    """The file has changed between reading and writing it."""


@dataclass(frozen=True)
class HandTable:
    """A file with a decision for each of some documents.

    Attributes:
        path: the file, which exists.
        columns: the names of its key (document_id) and of what is decided (class or category).
    """

    path: Path
    columns: tuple[str, str]

    def read(self) -> dict[str, str]:
        """Return the decision for each document, in the file's order.

        Raises:
            UserError: if it cannot be read as such a table.
        """
        frame = read_rows(self.path, self.columns, self.columns)
        return dict(frame.select(self.columns).iter_rows())

    def change(self, document: str, before: str | None, after: str | None) -> None:
        """Set the row of `document` (None: no row), in place or at the end; every other byte stays.

        Raises:
            ChangedMeanwhileError: if the row is not `before`.
            UserError: if the file cannot be read, or changes faster than it can be written.
            OSError: if it cannot be written; it is then what it was.
        """
        # A link to the file stays one.
        path = self.path.resolve()
        for _ in range(ATTEMPTS):
            content = path.read_bytes()
            if (found := self.read().get(document)) != before:
                raise ChangedMeanwhileError(found)
            edited = edit(content.decode(), self.columns, document, after)
            try:
                with replacing(path) as temporary:
                    temporary.write_bytes(edited.encode())
                    # As late as can be, so that what an editor has saved since is not lost.
                    if path.read_bytes() != content:
                        raise _SavedMeanwhileError
            except _SavedMeanwhileError:
                continue
            return
        raise UserError(f"{self.path} is being written by another program all the time: end that first")


def edit(text: str, columns: tuple[str, str], document: str, after: str | None) -> str:
    """Return the CSV `text` with the row of `document` set to `after`, or without it (None).

    Args:
        text: a table that `read_rows` takes, with any further columns.
        columns: the names of the key and of the cell to set.
    """
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader((line.removeprefix(BOM) for line in lines), strict=True)
    records, start = [], 0
    for cells in reader:
        if any(cell.strip() for cell in cells):
            records.append((start, reader.line_num, cells))
        start = reader.line_num
    _, end_of_header, header = records[0]
    names = [cell.strip() for cell in header]
    key, value = (names.index(column) for column in columns)
    ending = "\r\n" if lines[end_of_header - 1].endswith("\r\n") else "\n"

    for first, last, cells in records[1:]:
        if printable(cells[key]) == document:
            row = "" if after is None else _row([*cells[:value], after, *cells[value + 1 :]], ending)
            return "".join([*lines[:first], row, *lines[last:]])
    if after is None:
        return text
    new = {key: document, value: after}
    gap = "" if text.endswith(("\n", "\r")) else ending
    return text + gap + _row([new.get(place, "") for place in range(len(names))], ending)


def _row(cells: list[str], ending: str) -> str:
    buffer = io.StringIO(newline="")
    # It quotes what its own line end holds, so that one of \n would leave a cell's \r bare.
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().removesuffix("\r\n") + ending
