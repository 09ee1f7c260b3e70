"""Stage 1: documents to Markdown and text; every document accounted for by a status."""

import hashlib
import logging
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import polars as pl

from stages.corpus.csvs import read_csv, some
from stages.corpus.documents import Folder, Source, list_documents, why_unreadable
from stages.corpus.duplicates import first_of_each
from stages.corpus.tables import DOCUMENTS, write_table
from stages.extraction.params import ExtractParams
from stages.extraction.reading import Extracted
from stages.extraction.text import compose
from stages.extraction.workers import read_all
from stages.files import Metrics, write_csv, write_json
from stages.params import read_corpus, read_section
from stages.runtime.command import run
from stages.runtime.errors import UserError
from stages.runtime.progress import progress
from stages.runtime.settings import read_runtime

log = logging.getLogger(__name__)

STATUSES = ("ok", "empty", "garbage", "encrypted", "damaged", "timeout", "crashed", "duplicate")
LENGTHS = (0, 100, 250, 500, 1000, 2500, 5000, 10_000)


def read_sources(sources: list[Source], params: ExtractParams, workers: int) -> list[Extracted]:
    """Read each source, in worker processes; one that cannot even be opened is `damaged`."""
    faults = {source: why_unreadable(source.file) for source in sources}
    readable = [source.file for source in sources if faults[source] is None]
    results = read_all(readable, params, workers)
    return [
        Extracted("damaged", fault) if fault is not None else next(results)
        for fault in progress(faults.values(), total=len(sources), what="extract")
    ]


def check_columns(metadata: pl.DataFrame, columns: list[str]) -> None:
    """Raise a UserError if one of `columns` is not in `metadata`."""
    if missing := [column for column in columns if column not in metadata.columns]:
        raise UserError(f"extract.metadata_columns: metadata.csv has no column {missing[0]!r}: add it or take it out")


def tabulate(
    sources: list[Source], results: list[Extracted], metadata: pl.DataFrame, columns: list[str]
) -> pl.DataFrame:
    """Put what was read into the documents table, metadata joined, duplicates marked.

    Args:
        metadata: `document_id` and any columns; a filled `title` wins over the one found in the file.
        columns: the columns of `metadata` that become part of the text.

    Raises:
        UserError: if a column is not in `metadata`.
    """
    check_columns(metadata, columns)
    known = {row["document_id"]: row for row in metadata.iter_rows(named=True)}
    rows = []
    for source, result in zip(sources, results, strict=True):
        row = known.get(source.document_id, {})
        title = row.get("title") or result.title
        chosen = {column: row.get(column) or "" for column in columns}
        rows.append(
            {
                "document_id": source.document_id,
                "path": source.path,
                "sha256": _sha256(source.file),
                "title": title,
                "pages": result.pages,
                "pages_read": result.pages_read,
                "tokens": result.tokens,
                "markdown": result.markdown,
                "text": compose(title, chosen, result.body) if result.status == "ok" else "",
                "status": result.status,
                "error": result.error,
                "duplicate_of": None,
            }
        )
    _mark_duplicates(rows, results)
    return pl.DataFrame(rows, infer_schema_length=None)


def _mark_duplicates(rows: list[dict[str, object]], results: list[Extracted]) -> None:
    good = [(row, result) for row, result in zip(rows, results, strict=True) if result.status == "ok"]
    keys = [[str(row["sha256"]), " ".join(result.body.split())] for row, result in good]
    first = first_of_each(keys, [str(row["document_id"]) for row, _ in good])
    for row, _ in good:
        original = first[str(row["document_id"])]
        if original != row["document_id"]:
            row |= {"status": "duplicate", "duplicate_of": original, "error": f"the same bytes or text as {original}"}


def _sha256(file: Path) -> str:
    if why_unreadable(file) is not None:
        return ""
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        return ""


def measure(documents: pl.DataFrame, folder: Folder) -> Metrics:
    """Count documents by status, pages and tokens."""
    counts = dict(documents["status"].value_counts().iter_rows())
    tokens = documents.filter(pl.col("status") == "ok")["tokens"]
    return {
        "documents": len(documents),
        "status": {status: counts.get(status, 0) for status in STATUSES},
        "files_of_other_kinds": len(folder.others),
        "pages": documents["pages"].sum(),
        "pages_read": documents["pages_read"].sum(),
        "tokens": {"total": tokens.sum(), "median": tokens.median() or 0, "max": tokens.max() or 0},
    }


def count_lengths(tokens: Iterable[int]) -> pl.DataFrame:
    """Count documents by length for the plot: `tokens` (a range, as text) and `documents`."""
    bounds = [*LENGTHS, None]
    ranges = [f"{low:>6,} to {high:,}" if high else f"{low:>6,} and more" for low, high in pairwise(bounds)]
    counts = [0] * len(LENGTHS)
    for count in tokens:
        counts[max(place for place, low in enumerate(LENGTHS) if count >= low)] += 1
    return pl.DataFrame({"tokens": ranges, "documents": counts})


def main() -> None:
    """Extract the corpus of params.yaml into data/extracted/ and metrics/extract*."""
    params, corpus = read_section("extract", ExtractParams), read_corpus()
    metadata = read_csv(corpus, "metadata.csv")
    check_columns(metadata, params.metadata_columns)
    folder = list_documents(corpus / "documents")
    results = read_sources(folder.sources, params, read_runtime().worker_count())
    documents = tabulate(folder.sources, results, metadata, params.metadata_columns)

    unknown = sorted(set(metadata["document_id"]) - set(documents["document_id"]))
    if unknown:
        log.warning("%s: no such document: %s", corpus / "metadata.csv", some(unknown))
    if folder.others:
        log.warning("%s: left out files of other kinds: %s", corpus / "documents", some(sorted(folder.others)))
    for name, status, error in documents.select("document_id", "status", "error").iter_rows():
        if status != "ok":
            log.warning("%s: %r: %s", status, name, error)
    if {"timeout", "crashed"} & set(documents["status"]):
        log.warning("a time-out or crash can be the machine's: `dvc repro -sf extract` tries those again")
    if "ok" not in set(documents["status"]):
        raise UserError(f"{corpus / 'documents'}: none of the {len(documents)} documents could be read (see above)")

    metrics = measure(documents, folder)
    write_table(documents, DOCUMENTS)
    write_json(Path("metrics/extract.json"), metrics)
    write_csv(Path("metrics/extract/lengths.csv"), count_lengths(documents.filter(pl.col("status") == "ok")["tokens"]))
    write_csv(Path("metrics/extract/status.csv"), documents.group_by("status").len("documents").sort("status"))
    log.info("extract: %s", ", ".join(f"{count} {status}" for status, count in metrics["status"].items() if count))


if __name__ == "__main__":
    run(main)
