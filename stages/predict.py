"""Classify documents with the trained model: files, folders, or the whole current corpus."""

import argparse
import logging
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
from tqdm.contrib.logging import logging_redirect_tqdm

from stages.corpus.csvs import some
from stages.corpus.documents import Source, list_documents, printable
from stages.corpus.tables import DOCUMENTS, read_texts, scan_table
from stages.evaluation.params import EvaluateParams
from stages.extraction.params import ExtractParams
from stages.extraction.text import compose
from stages.extraction.workers import read_all
from stages.files import opened
from stages.inference.asking import CHUNK
from stages.inference.classifier import Classifier, load_classifier
from stages.params import read_section
from stages.predicting.answers import FORMATS, Wanted, writing
from stages.runtime.command import run
from stages.runtime.errors import UserError
from stages.runtime.progress import progress_bar
from stages.runtime.settings import read_runtime

log = logging.getLogger(__name__)

MODEL = Path("models/classifier")
# The first chunk's texts, each after it has twice as many: the model does not wait until `CHUNK` of them are read.
FIRST = 32
Document = tuple[str, str]  # its id and its text


def find_sources(paths: list[Path]) -> list[Source]:
    """List the documents that `paths` (files and folders) name; name the other files of a folder.

    A file's id is its name without the ending, a folder's documents are named as in a corpus; ids that
    would be equal become the path as it was given.
    """
    sources = []
    for path in paths:
        if path.is_dir():
            folder = list_documents(path)
            sources += folder.sources
            if folder.others:
                log.warning("%s: left out files of other kinds: %s", printable(str(path)), some(sorted(folder.others)))
        else:
            sources.append(Source(printable(path.stem), printable(path.name), path))
    count = Counter(source.document_id for source in sources)
    return [
        Source(printable(str(source.file)), source.path, source.file) if count[source.document_id] > 1 else source
        for source in sources
    ]


def read_files(
    sources: list[Source], params: ExtractParams, workers: int, advance: Callable[[int], object]
) -> Iterator[Document]:
    """Yield id and text of the documents that can be read, in order; name the others.

    Args:
        advance: told of each of the others.
    """
    files = [source.file for source in sources]
    for source, read in zip(sources, read_all(files, params, workers, here=CHUNK), strict=True):
        found = read.found
        if found.status == "ok":
            yield source.document_id, compose(found.title, {}, found.body)
        else:
            advance(1)
            log.error("error: %s: %s: %s", printable(str(source.file)), found.status, found.error)


def corpus_documents() -> tuple[pl.LazyFrame, list[str]]:
    """Return the documents of the corpus as extracted and the ids of those that hold text; name the others."""
    documents = scan_table(DOCUMENTS)
    ids = documents.select("document_id", "status").collect()
    readable = ids.filter(pl.col("status").is_in(["ok", "duplicate"]))["document_id"].to_list()
    if without := sorted(set(ids["document_id"]) - set(readable)):
        log.warning("left out, as nothing could be read of them: %s", some(without))
    return documents, readable


def predict(
    documents: Iterable[Document], classifier: Classifier, batch_tokens: int, advance: Callable[[int], object]
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield ids and calibrated probabilities (documents x classes) of documents, in order, some hundred at a time.

    Args:
        documents: ids and texts; no more of them than are being answered are in memory.
        batch_tokens: tokens that the model reads at a time.
        advance: told how many documents have been answered since it was told last.
    """
    names = deque[list[str]]()

    def texts() -> Iterator[list[str]]:
        rest, size = iter(documents), FIRST
        while chunk := list(islice(rest, size)):
            size = min(2 * size, CHUNK)
            names.append([name for name, _ in chunk])
            yield [text for _, text in chunk]

    for logits in classifier.stream(texts(), batch_tokens, advance):
        yield names.popleft(), classifier.calibrate(logits)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m stages.predict", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="files (.pdf, .md, .txt) or folders")
    parser.add_argument("--corpus", action="store_true", help="every document of the current corpus, as extracted")
    parser.add_argument("--format", choices=FORMATS, default="table")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there instead of printing")
    parser.add_argument(
        "--threshold", type=_share, metavar="P", help="leave the label empty where its probability is below P (0 to 1)"
    )
    parser.add_argument(
        "--top-k", type=_count, metavar="K", help="the K likeliest classes, in their order; default: all"
    )
    arguments = parser.parse_args()
    if arguments.output and arguments.output.is_dir():
        parser.error(f"--output {arguments.output}: is a folder: name a file in it")
    if arguments.corpus == bool(arguments.paths):
        parser.error("name files or folders, or --corpus (not both)")
    if arguments.format == "parquet" and arguments.output is None:
        parser.error("--format parquet: no text to be printed: name a file with --output")
    return arguments


def main() -> None:
    """Predict and print; exit code 1 if a document could not be read."""
    arguments = parse_arguments()
    wanted = Wanted(arguments.format, arguments.threshold, arguments.top_k)
    runtime = read_runtime()
    if arguments.corpus:
        table, names = corpus_documents()
    else:
        sources = find_sources(arguments.paths)
        names = [source.document_id for source in sources]
    classifier, answered = load_classifier(MODEL, runtime.device), 0
    with (
        logging_redirect_tqdm(),
        progress_bar(len(names), "predict", delay=2) as bar,
        opened(arguments.output) if arguments.output else nullcontext(sys.stdout.buffer) as out,
        writing(out, classifier.labels, wanted, max(map(len, names), default=0)) as write,
    ):
        if arguments.corpus:
            documents = read_texts(table, names)
        else:
            params = read_section("extract", ExtractParams)
            documents = read_files(sources, params, runtime.worker_count(), bar.update)
        batch_tokens = read_section("evaluate", EvaluateParams).batch_tokens
        for part, probabilities in predict(documents, classifier, batch_tokens, bar.update):
            answered += len(part)
            with bar.external_write_mode():
                write(part, probabilities)
                out.flush()
    if answered < len(names):
        raise UserError(f"{len(names) - answered} of {len(names)} documents could not be read (named above)")


if __name__ == "__main__":
    run(main, own_arguments=True)
