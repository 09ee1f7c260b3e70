"""Worker processes: one document costs at most its own time and memory limit, never the run."""

import multiprocessing
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import TimeoutError as OutOfTime
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from stages.extraction.params import ExtractParams
from stages.extraction.reading import Extracted
from stages.extraction.stored import read_stored

PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal a process gets when its parent dies


def read_all(files: list[Path], params: ExtractParams, workers: int) -> Iterator[Extracted]:
    """Read `files` in `workers` processes and yield the results in the same order.

    A document that takes longer than `timeout_s` or breaks its worker yields the status `timeout`
    or `crashed`; neither is stored, so a later run tries it again.
    """
    if not files:
        return
    # Not fork: polars and tokenizers run threads, and a forked child can inherit their locks.
    context = multiprocessing.get_context("spawn")
    count = min(workers, len(files))
    with ProcessPool(count, initializer=_start_worker, initargs=[params.memory_mb], context=context) as pool:
        try:
            futures = [pool.schedule(read_stored, args=[file, params], timeout=params.timeout_s) for file in files]
            for future in futures:
                try:
                    yield future.result()
                except OutOfTime:
                    yield Extracted("timeout", f"took longer than extract.timeout_s ({params.timeout_s:g} s)")
                except ProcessExpired as fault:
                    yield Extracted("crashed", f"the worker process died (exit code {fault.exitcode})")
                except MemoryError:
                    yield Extracted("crashed", f"needs more than extract.memory_mb ({params.memory_mb} MB)")
        except BaseException:
            pool.stop()
            raise


def _start_worker(megabytes: int) -> None:
    if sys.platform == "linux":
        import ctypes
        import resource

        # A worker whose parent was killed would read on, and a hanging document has no time limit any more.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))
