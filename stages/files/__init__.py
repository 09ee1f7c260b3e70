"""Writing files so that a kill or a full disk leaves the old file or the new one, never half of one."""

import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl
import psutil

Metrics = dict[str, Any]


# Of a temporary file: the process that writes it, eight signs of chance.
TEMPORARY = re.compile(r"\.tmp-(\d+)-[0-9a-f]{8}")


def clear_temporary(folder: Path) -> None:
    """Delete temporary files that a killed process has left in `folder`."""
    for file in folder.glob(".tmp-*"):
        name = TEMPORARY.fullmatch(file.name)
        if name and not psutil.pid_exists(int(name[1])):
            file.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` that takes its place and mode in the end, and after an error never stays.

    Raises:
        OSError: if the disk is full, naming `path`, which is then what it was before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(4)}")
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        if path.is_file():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    except BaseException as fault:
        temporary.unlink()
        if isinstance(fault, OSError):
            fault.filename = str(path)
        raise


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Yield what writes to a file that a person has named: there when it is whole, and a link to it stays one.

    What stands there and is no file (a pipe, a device) is written to at once.

    Raises:
        OSError: if it cannot be written, naming it; a file is then what it was before.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    path = path.resolve()
    clear_temporary(path.parent)
    with replacing(path) as temporary, temporary.open("wb") as file:
        yield file


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
