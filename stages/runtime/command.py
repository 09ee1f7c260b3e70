"""How every command starts and ends: logging, the params check, errors as one line."""

import errno
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from stages.params import load
from stages.runtime.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Check params.yaml, call `main`, and turn a user's mistake into one line and exit code 1."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "huggingface_hub", "sentence_transformers", "datasets", "absl"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        from stages.runtime.checker import check

        check(load())
        main()
    except UserError as error:
        _stop(str(error), 1)
    except KeyboardInterrupt:
        _stop("interrupted: the same command goes on where it stopped", 130)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = error.filename or Path.cwd()
            _stop(f"no space left on the disk while writing {where}: free some and run the same command again", 1)
        if error.filename is None or error.strerror is None:
            raise
        _stop(f"{error.filename}: {error.strerror}", 1)


def _stop(message: str, code: int) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    sys.exit(code)
