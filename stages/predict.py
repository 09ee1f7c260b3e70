"""Classify documents with the trained model: files, folders, or the whole current corpus."""

import argparse
import json
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl

from stages.corpus.csvs import some
from stages.corpus.documents import Source, list_documents, printable
from stages.corpus.tables import DOCUMENTS, scan_table
from stages.evaluation.params import EvaluateParams
from stages.extraction.params import ExtractParams
from stages.extraction.text import compose
from stages.extraction.workers import read_all
from stages.files import write_atomically
from stages.inference.classifier import load_classifier
from stages.params import read_section
from stages.runtime.command import run
from stages.runtime.errors import UserError
from stages.runtime.settings import read_runtime

log = logging.getLogger(__name__)

MODEL = Path("models/classifier")


def find_sources(paths: list[Path]) -> list[Source]:
    """List the documents that `paths` (files and folders) name.

    A file's id is its name without the ending, a folder's documents are named as in a corpus; ids that
    would be equal become the path as it was given.
    """
    sources = []
    for path in paths:
        if path.is_dir():
            sources += list_documents(path).sources
        else:
            sources.append(Source(printable(path.stem), printable(path.name), path))
    count = Counter(source.document_id for source in sources)
    return [
        Source(printable(str(source.file)), source.path, source.file) if count[source.document_id] > 1 else source
        for source in sources
    ]


def read_texts(sources: list[Source], params: ExtractParams, workers: int) -> tuple[pl.DataFrame, int]:
    """Read `sources`; return `document_id`, `text` of those that can be used and the number of the others."""
    rows, failed = [], 0
    for source, read in zip(sources, read_all([source.file for source in sources], params, workers), strict=True):
        found = read.found
        if found.status == "ok":
            rows.append({"document_id": source.document_id, "text": compose(found.title, {}, found.body)})
        else:
            failed += 1
            log.error("error: %s: %s: %s", printable(str(source.file)), found.status, found.error)
    return pl.DataFrame(rows, schema={"document_id": pl.String, "text": pl.String}), failed


def render(documents: list[str], labels: list[str], probabilities: np.ndarray, form: str) -> str:
    """Write predictions as `table`, `json` (an array of objects) or `csv`.

    Args:
        probabilities: documents x classes.
    """
    best = [labels[place] for place in probabilities.argmax(axis=1)]
    shares = [
        {label: round(float(share), 4) for label, share in zip(labels, row, strict=True)} for row in probabilities
    ]
    rows = list(zip(documents, best, shares, strict=True))
    if form == "json":
        objects = [{"document_id": name, "label": label, "probabilities": share} for name, label, share in rows]
        return json.dumps(objects, indent=2, ensure_ascii=False) + "\n"
    if form == "csv":
        schema = {"document_id": pl.String, "label": pl.String, **dict.fromkeys(labels, pl.Float64)}
        return pl.DataFrame(
            [(name, label, *share.values()) for name, label, share in rows], schema, orient="row"
        ).write_csv()
    width = max(len(name) for name in ("document", *documents))
    lines = [f"{'document':<{width}}  probability  label"]
    lines += [f"{name:<{width}}  {share[label]:11.3f}  {label}" for name, label, share in rows]
    return "\n".join(lines) + "\n"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m stages.predict", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="files (.pdf, .md, .txt) or folders")
    parser.add_argument("--corpus", action="store_true", help="every document of the current corpus, as extracted")
    parser.add_argument("--format", choices=["table", "json", "csv"], default="table")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there instead of printing")
    arguments = parser.parse_args()
    if arguments.corpus == bool(arguments.paths):
        parser.error("name files or folders, or --corpus (not both)")
    return arguments


def main() -> None:
    """Predict and print; exit code 1 if a document could not be read."""
    arguments = parse_arguments()
    runtime = read_runtime()
    classifier = load_classifier(MODEL, runtime.device)
    if arguments.corpus:
        extracted, failed = scan_table(DOCUMENTS).select("document_id", "text", "status").collect(), 0
        documents = extracted.filter(pl.col("status").is_in(["ok", "duplicate"]))
        if without := sorted(set(extracted["document_id"]) - set(documents["document_id"])):
            log.warning("left out, as nothing could be read of them: %s", some(without))
    else:
        sources = find_sources(arguments.paths)
        documents, failed = read_texts(sources, read_section("extract", ExtractParams), runtime.worker_count())
    probabilities = classifier.probabilities(
        documents["text"].to_list(), read_section("evaluate", EvaluateParams).batch_tokens
    )
    answer = render(documents["document_id"].to_list(), classifier.labels, probabilities, arguments.format)
    if arguments.output:
        write_atomically(arguments.output, answer.encode())
    else:
        print(answer, end="", flush=True)
    if failed:
        raise UserError(f"{failed} of {failed + len(documents)} documents could not be read (named above)")


if __name__ == "__main__":
    run(main, own_arguments=True)
