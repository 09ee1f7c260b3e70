"""A page in the browser to go through doubtful labels, or to label documents blind; it writes the corpus's CSV files.

Without --gold: the label suspects of the last run, then the documents the model is least sure about. Each decision goes
into overrides.csv at once. With --gold N: a random sample of N documents, shown without anybody's label, for gold.csv.
The address that is printed works on this machine alone; from another one, forward a fixed port to itself
(ssh -L 8765:127.0.0.1:8765 HOST, then --port 8765 there).
"""

import argparse
import logging
from pathlib import Path

from stages.annotators.params import AnnotateParams
from stages.corpus.csvs import HEADERS
from stages.params import read_corpus, read_section
from stages.reviewing.queues import blind_items, categories_to_give, classes_in_use, doubted_items
from stages.reviewing.server import Review, listen, serve
from stages.reviewing.session import Session
from stages.reviewing.table import HandTable
from stages.runtime.command import run
from stages.runtime.lock import alone_or_not_at_all

log = logging.getLogger(__name__)


def open_review(corpus: Path, gold: int | None) -> Review:
    """Find out what there is to review in `corpus`: what is doubted, or `gold` documents to label blind.

    Raises:
        UserError: if there is no run to review, or a file cannot be read.
    """
    if gold is None:
        items, labels, name = doubted_items(), classes_in_use(corpus), "overrides.csv"
    else:
        seed = read_section("annotate", AnnotateParams).seed
        items, labels, name = blind_items(corpus, gold, seed), categories_to_give(corpus), "gold.csv"
    key, value = HEADERS[name]
    return Review(Session(items, HandTable(corpus / name, (key, value)), list(labels)), labels, gold is not None)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.review", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gold", type=int, metavar="N", help="label a random sample of N documents blind")
    parser.add_argument("--port", type=int, default=0, metavar="PORT", help="of 127.0.0.1; default: any that is free")
    arguments = parser.parse_args()
    if arguments.gold is not None and arguments.gold < 1:
        parser.error("--gold: a sample has 1 document or more")
    if not 0 <= arguments.port <= 65535:
        parser.error("--port: a number from 0 to 65535")
    return arguments


def main() -> None:
    """Serve the page until Ctrl-C."""
    arguments, corpus = parse_arguments(), read_corpus()
    busy = f"{corpus}: another review of this corpus is open: end it there (Ctrl-C) first"
    with alone_or_not_at_all(corpus / ".review.lock", busy):
        review = open_review(corpus, arguments.gold)
        session = review.session
        state = session.state()
        log.info("review: %d of %d documents are decided in %s", state["decided"], state["total"], session.table.path)
        if state["item"] is None:
            return
        log.info("review: open this address in a browser; Ctrl-C ends it, nothing gets lost:")
        serve(review, listen(arguments.port), lambda address: print(address, flush=True))
        log.info("review: %s", session.summary())


if __name__ == "__main__":
    run(main, own_arguments=True)
