"""Two processes that would do the same work take turns."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from stages.runtime.errors import UserError

log = logging.getLogger(__name__)


@contextmanager
def alone_with(folder: Path, others: str) -> Iterator[None]:
    """Wait until no other process does the work that `folder` stands for, and keep others off meanwhile.

    The operating system ends a lock with its process, however that dies.

    Args:
        folder: where the work is kept; the lock is a file beside it.
        others: what another process does then, for the log.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = folder.with_suffix(".lock")
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("%s: waiting until it ends", others)
        lock.acquire(poll_interval=0.5)
    with _released(lock, file):
        yield


@contextmanager
def alone_or_not_at_all(file: Path, others: str) -> Iterator[None]:
    """Keep other processes off while this one works, or refuse if one is at it.

    Args:
        file: the lock.
        others: what another process does then, and what to do about it.

    Raises:
        UserError: if another process holds the lock: `others`.
    """
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(others) from None
    with _released(lock, file):
        yield


@contextmanager
def _released(lock: FileLock, file: Path) -> Iterator[None]:
    try:
        yield
    finally:
        # Those who wait see that the file they hold open has gone, and make a new one; Windows keeps it for them.
        with suppress(PermissionError):
            file.unlink()
        lock.release()
