"""How every command starts and ends: logging, the params check, errors as one line."""

import argparse
import errno
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from stages.params import load
from stages.runtime.errors import UserError
from stages.store import cache_folder

# Bytes: a write that failed for want of space leaves less than a block of a tensor file free.
ALMOST_NOTHING = 1 << 20


def run(main: Callable[[], None], own_arguments: bool = False) -> None:
    """Check params.yaml, call `main`, and turn a user's mistake into one line and exit code 1.

    A stage takes no argument but --help; a `main` with `own_arguments` reads its command line itself.
    """
    if not own_arguments:
        module = sys.modules[main.__module__]
        name = module.__spec__.name if module.__spec__ else main.__module__
        argparse.ArgumentParser(
            prog=f"python -m {name}", description=module.__doc__, epilog="Its settings are in params.yaml."
        ).parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "httpx2", "openai", "huggingface_hub", "sentence_transformers", "datasets", "absl"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if "DVC_STAGE" in os.environ:
        _end_with_parent()
    try:
        from stages.runtime.checker import check

        check(load())
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads the output has seen enough (`| head`). Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except UserError as error:
        _stop(str(error), 1)
    except KeyboardInterrupt:
        _stop("interrupted: the same command goes on where it stopped", 130)
    except Exception as error:
        if disk := _full_disk(error):
            _stop(f"no space left on the disk while writing {disk}: free some and run the same command again", 1)
        if not isinstance(error, OSError) or error.filename is None or error.strerror is None:
            raise
        _stop(f"{error.filename}: {error.strerror}", 1)


def _end_with_parent() -> None:
    """End this process when the one that started it has gone.

    A killed DVC leaves its stage running, which would write into what the next `dvc repro` clears away.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _full_disk(error: Exception) -> str | None:
    """Say what could not be written if `error` comes from a full disk, else None.

    safetensors and torch raise errors of their own. The one's text says why, and it removes what it has written, so
    that there is room again; torch leaves that, and only the disks tell.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return str(error.filename or Path.cwd())
    free = {folder: shutil.disk_usage(folder).free for folder in (Path.cwd(), cache_folder()) if folder.exists()}
    fullest = min(free, key=lambda folder: free[folder])
    said = any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT))
    return str(fullest) if said or free[fullest] < ALMOST_NOTHING else None


def _stop(message: str, code: int) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    sys.exit(code)
