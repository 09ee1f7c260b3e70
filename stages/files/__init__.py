"""Writing files so that a kill or a full disk leaves the old file or the new one, never half of one."""

import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import psutil

Metrics = dict[str, Any]


TEMPORARY = ".tmp-"


def clear_temporary(folder: Path) -> None:
    """Delete temporary files that a killed process has left in `folder`."""
    for file in folder.glob(f"{TEMPORARY}*"):
        process = file.name.removeprefix(TEMPORARY).partition("-")[0]
        if not (process.isdecimal() and psutil.pid_exists(int(process))):
            file.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` that takes its place in the end, and after an error never stays.

    Raises:
        OSError: if the disk is full, naming `path`, which is then what it was before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{TEMPORARY}{os.getpid()}-")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException as fault:
        temporary.unlink()
        if isinstance(fault, OSError):
            fault.filename = str(path)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`, making its folder.

    Raises:
        OSError: as `replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write metrics or settings as JSON that reads well in a diff (keys in the order given)."""
    write_atomically(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    """Write a table as parquet, the same bytes for the same table."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", statistics=False)
    write_atomically(path, buffer.getvalue())


def write_csv(path: Path, frame: pl.DataFrame) -> None:
    """Write a table or the data of a plot as CSV, floats with 4 decimals."""
    write_atomically(path, frame.write_csv(float_precision=4).encode())
