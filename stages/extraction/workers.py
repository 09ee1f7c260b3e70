"""Worker processes: one document costs at most its own time and memory limit, never the run."""

import hashlib
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as OutOfTime
from dataclasses import dataclass
from pathlib import Path

import psutil
from pebble import ProcessExpired, ProcessPool

from stages.corpus.documents import why_unreadable
from stages.extraction.params import ExtractParams
from stages.extraction.reading import Extracted
from stages.extraction.stored import Last, Read, Results, nothing, read_stored, unreadable

PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal a process gets when its parent dies
# Documents for each worker that are begun while the first of them is waited for: one that hangs stops no other.
AHEAD = 32
# Bytes of a text file that is read without a worker, if its caller says so: that takes milliseconds and does no harm.
SMALL = 1 << 16
# The exit code of a worker that has grown and wants to be replaced (EX_TEMPFAIL: try again).
GROWN = 75
# The exit code of a worker that has run out of memory (EX_OSERR).
OUT_OF_MEMORY = 71


def read_all(
    files: Iterable[Path], params: ExtractParams, workers: int, last: Last = nothing, here: int = 0
) -> Iterator[Read]:
    """Yield what is read from each of `files`, in their order, by as many processes as `workers`.

    A document that takes longer than `timeout_s`, needs more than `memory_mb` or breaks its worker yields the status
    `timeout` or `crashed`; neither is kept, so a later run tries it again.

    Args:
        last: gives the tables of a last run, from which an empty store is filled.
        here: so many small text files are read by this process, which spares a short run the start of others.
    """
    waiting = deque[_Document]()
    with _Workers(params, workers, Results(params, last), here) as pool:
        for file in files:
            waiting.append(pool.begin(file))
            if len(waiting) > AHEAD * workers:
                yield pool.end(waiting.popleft())
        while waiting:
            yield pool.end(waiting.popleft())


@dataclass
class _Document:
    """A document that is on its way, or read."""

    file: Path
    sha256: str
    key: str
    read: "Read | Future[Read]"


class _Workers:
    """Processes that read what is not in the store, started when there is such a document."""

    def __init__(self, params: ExtractParams, count: int, results: Results, here: int) -> None:
        self.params = params
        self.count = count
        self.results = results
        self.here = here
        self.pool: ProcessPool | None = None
        self.running: dict[str, Future[Read]] = {}

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.pool is not None:
            if kind is None:
                self.pool.close()
            else:
                self.pool.stop()
            self.pool.join()

    def begin(self, file: Path) -> _Document:
        """Look `file` up in the store, or give it to a worker; equal files go to one."""
        try:
            if (fault := why_unreadable(file)) is not None:
                return _Document(file, "", "", unreadable(fault))
            with file.open("rb") as content:
                sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        except OSError as fault:
            return _Document(file, "", "", unreadable(f"cannot be read: {fault.strerror}"))
        key = self.results.key(sha256, file.suffix.lower())
        if key not in self.running:
            if (found := self.results.get(key)) is not None:
                return _Document(file, sha256, key, Read(sha256, key, found))
            if self.here and file.suffix.lower() != ".pdf" and file.stat().st_size <= SMALL:
                self.here -= 1
                return _Document(file, sha256, key, read_stored(file, self.params))
            self.running[key] = self._schedule(file)
        return _Document(file, sha256, key, self.running[key])

    def end(self, document: _Document) -> Read:
        """Wait for `document` and say what became of it."""
        self.running.pop(document.key, None)
        while isinstance(document.read, Future):
            try:
                return document.read.result()
            except OutOfTime:
                status, error = "timeout", f"took longer than extract.timeout_s ({self.params.timeout_s:g} s)"
            except (MemoryError, ProcessExpired) as fault:
                code = OUT_OF_MEMORY if isinstance(fault, MemoryError) else fault.exitcode
                if code == GROWN:
                    document.read = self._schedule(document.file)
                    continue
                status, error = "crashed", f"the worker process died (exit code {code})"
                if code == OUT_OF_MEMORY:
                    error = f"needs more than extract.memory_mb ({self.params.memory_mb} MB)"
            return Read(document.sha256, None, Extracted(status, error))
        return document.read

    def _schedule(self, file: Path) -> "Future[Read]":
        if self.pool is None:
            self.pool = ProcessPool(
                self.count,
                initializer=_start_worker,
                initargs=[self.params.memory_mb],
                # Not fork: polars and tokenizers run threads, and a forked child can inherit their locks.
                context=multiprocessing.get_context("spawn"),
            )
        future: Future[Read] = self.pool.schedule(
            read_in_worker, args=[file, self.params], timeout=self.params.timeout_s
        )
        return future


def _start_worker(megabytes: int) -> None:
    if sys.platform == "linux":
        import ctypes
        import resource

        # A worker whose parent was killed would read on, and a hanging document has no time limit any more.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))


class _Memory:
    """What this worker held after its documents, at the least: what is more, they have left behind (bytes)."""

    least = sys.maxsize


def read_in_worker(file: Path, params: ExtractParams) -> Read:
    """Read a document, unless those before it have left so much in memory that this one may not have enough.

    The process then ends, and another takes its place.
    """
    limit, first = params.memory_mb << 20, _Memory.least == sys.maxsize
    # The second bound is for a first document that leaves much behind.
    if not first and _held() > min((_Memory.least + limit) / 2, 0.75 * limit):
        os._exit(GROWN)
    try:
        found = read_stored(file, params)
    except MemoryError:
        # MuPDF does not give back what it held when there was no more.
        os._exit(OUT_OF_MEMORY)
    _Memory.least = min(_Memory.least, _held())
    return found


def _held() -> int:
    """Return the bytes this process holds; on Linux as `memory_mb` limits them, used or not."""
    info = psutil.Process().memory_info()
    return int(getattr(info, "data", info.rss))
