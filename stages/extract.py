"""Stage 1: documents to Markdown and text; every document accounted for by a status."""

import argparse
import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, pairwise
from pathlib import Path

import polars as pl

from stages.corpus.csvs import read_csv, some
from stages.corpus.documents import Folder, Source, list_documents
from stages.corpus.tables import COLUMNS, DOCUMENTS, KEYS, SLICE, table_in_parts, write_table
from stages.extraction.params import ExtractParams
from stages.extraction.stored import Last, Read, nothing
from stages.extraction.text import compose
from stages.extraction.workers import read_all
from stages.files import Metrics, write_csv, write_json
from stages.params import read_corpus, read_section
from stages.runtime.command import run
from stages.runtime.errors import UserError
from stages.runtime.precheck import check_for_dvc
from stages.runtime.progress import progress
from stages.runtime.settings import read_runtime
from stages.store.last_output import last_output

log = logging.getLogger(__name__)

STATUSES = ("ok", "empty", "garbage", "encrypted", "damaged", "timeout", "crashed", "duplicate")
LENGTHS = (0, 100, 250, 500, 1000, 2500, 5000, 10_000)


def extract(
    sources: list[Source],
    metadata: pl.DataFrame,
    params: ExtractParams,
    workers: int,
    last: Last = nothing,
) -> Iterator[pl.DataFrame]:
    """Read documents in worker processes and yield the tables of documents and of keys, side by side, in parts.

    Args:
        sources: sorted by id.
        metadata: `document_id` and any columns; a filled `title` wins over the one found in the file.
        last: gives the tables of the last run, which spare reading what an empty store lacks.

    Raises:
        UserError: if metadata lacks a column that becomes part of the text.
    """
    check_columns(metadata, params.metadata_columns)
    read = read_all([source.file for source in sources], params, workers, last)
    shown = progress(zip(sources, read, strict=True), total=len(sources), what="extract")
    return tabulate(shown, metadata, params.metadata_columns)


def check_columns(metadata: pl.DataFrame, columns: list[str]) -> None:
    """Raise a UserError if one of `columns` is not in `metadata`."""
    if missing := [column for column in columns if column not in metadata.columns]:
        raise UserError(f"extract.metadata_columns: metadata.csv has no column {missing[0]!r}: add it or take it out")


def tabulate(
    documents: Iterable[tuple[Source, Read]], metadata: pl.DataFrame, columns: list[str]
) -> Iterator[pl.DataFrame]:
    """Yield the tables of documents and of keys, side by side, in parts; metadata joined, duplicates marked.

    Of documents with the same text the first is `ok`, the others name it.

    Args:
        documents: sorted by id.
        metadata: `document_id` and any columns; a filled `title` wins over the one found in the file.
        columns: the columns of `metadata` that become part of the text.
    """
    known = {row["document_id"]: row for row in metadata.iter_rows(named=True)}
    first: dict[bytes, str] = {}
    rest = iter(documents)
    while part := list(islice(rest, SLICE)):
        yield pl.DataFrame(
            [_row(source, read, known.get(source.document_id, {}), columns, first) for source, read in part],
            schema=COLUMNS[DOCUMENTS.name] | COLUMNS[KEYS.name],
        )


def _row(
    source: Source, read: Read, metadata: Mapping[str, str], columns: list[str], first: dict[bytes, str]
) -> dict[str, object]:
    """Return a document's row of the table.

    Args:
        first: the first document of each text so far, by the text's hash; this one is added.
    """
    found = read.found
    row = {
        "document_id": source.document_id,
        "path": source.path,
        "sha256": read.sha256,
        "title": metadata.get("title") or found.title,
        "pages": found.pages,
        "pages_read": found.pages_read,
        "tokens": found.tokens,
        "markdown": found.markdown,
        "text": "",
        "status": found.status,
        "error": found.error,
        "duplicate_of": None,
        "title_in_file": found.title,
        "language": found.language,
        "key": read.key,
    }
    if found.status != "ok":
        return row
    chosen = {column: metadata.get(column) or "" for column in columns}
    row["text"] = compose(str(row["title"]), chosen, found.body)
    body = hashlib.sha256(" ".join(found.body.split()).encode("utf-8", "surrogatepass")).digest()
    original = first.setdefault(body, source.document_id)
    if original != source.document_id:
        row |= {"status": "duplicate", "duplicate_of": original, "error": f"the same text as {original}"}
    return row


def measure(documents: pl.DataFrame, folder: Folder) -> Metrics:
    """Count documents by status and language, pages and tokens."""
    counts = dict(documents["status"].value_counts().iter_rows())
    good = documents.filter(pl.col("status") == "ok")
    languages = Counter(good["language"].fill_null("unknown").sort())
    tokens = good["tokens"]
    return {
        "documents": len(documents),
        "status": {status: counts.get(status, 0) for status in STATUSES},
        "files_of_other_kinds": len(folder.others),
        "pages": documents["pages"].sum(),
        "pages_read": documents["pages_read"].sum(),
        "languages": dict(languages.most_common()),
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
    parser = argparse.ArgumentParser(
        prog="python -m stages.extract", description=__doc__, epilog="Its settings are in params.yaml."
    )
    parser.add_argument("--check", action="store_true", help="only name the files that stop DVC itself, and exit")
    arguments = parser.parse_args()
    params, corpus = read_section("extract", ExtractParams), read_corpus()
    if arguments.check:
        check_for_dvc(corpus / "documents")
        return
    metadata = read_csv(corpus, "metadata.csv")
    folder = list_documents(corpus / "documents")
    workers, facts = read_runtime().worker_count(), []
    with table_in_parts(DOCUMENTS) as write:
        for part in extract(folder.sources, metadata, params, workers, last_tables):
            write(part)
            facts.append(part.drop("markdown", "text"))
        documents = pl.concat(facts)
        report(documents, folder, corpus, metadata)
        if "ok" not in set(documents["status"]):
            raise UserError(f"{corpus / 'documents'}: none of the {len(documents)} documents could be read (see above)")

    write_table(documents, KEYS)
    metrics = measure(documents, folder)
    write_json(Path("metrics/extract.json"), metrics)
    write_csv(Path("metrics/extract/lengths.csv"), count_lengths(documents.filter(pl.col("status") == "ok")["tokens"]))
    write_csv(Path("metrics/extract/status.csv"), documents.group_by("status").len("documents").sort("status"))
    log.info("extract: %s", ", ".join(f"{count} {status}" for status, count in metrics["status"].items() if count))


def last_tables() -> tuple[Path, Path] | None:
    """Return the tables of documents and of keys that the last run wrote, if DVC has both."""
    documents, keys = last_output(DOCUMENTS), last_output(KEYS)
    return (documents, keys) if documents and keys else None


def report(documents: pl.DataFrame, folder: Folder, corpus: Path, metadata: pl.DataFrame) -> None:
    """Say which documents cannot be used, and which files and rows of metadata.csv belong to none."""
    if unknown := sorted(set(metadata["document_id"]) - set(documents["document_id"])):
        log.warning("%s: no such document: %s", corpus / "metadata.csv", some(unknown))
    if folder.others:
        log.warning("%s: left out files of other kinds: %s", corpus / "documents", some(sorted(folder.others)))
    for name, status, error in documents.select("document_id", "status", "error").iter_rows():
        if status != "ok":
            log.warning("%s: %r: %s", status, name, error)
    if {"timeout", "crashed"} & set(documents["status"]):
        log.warning("a time-out or crash can be the machine's: `dvc repro -sf extract` tries those again")


if __name__ == "__main__":
    run(main, own_arguments=True)
