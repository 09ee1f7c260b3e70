"""Progress of long loops: a bar on a terminal, sparse lines in a log."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], *, total: int, what: str, delay: float = 0) -> Iterator[T]:
    """Yield `items` while showing how far the loop has come; `what` names the loop.

    Args:
        delay: seconds before anything is shown; a loop that is done by then leaves no line.
    """
    with progress_bar(total, what, delay) as bar:
        for item in items:
            yield item
            bar.update()


def progress_bar(total: int, what: str, delay: float = 0) -> tqdm:
    """Return the bar of a loop of `total` turns, to be advanced by hand."""
    terminal = sys.stderr.isatty()
    interval = 0.1 if terminal else 30.0
    disable = None if terminal else total < 2
    return tqdm(total=total, desc=what, mininterval=interval, maxinterval=interval, disable=disable, delay=delay)
