"""Writing files: whole or not at all, nobody else's file lost, into pipes and through links as a person expects."""

import os
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from stages.files import clear_temporary, opened, write_atomically


def nobody() -> int:
    """Return the number of a process that has ended."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_only_what_a_dead_process_has_left_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / f".tmp-{nobody()}-0123abcd"
    kept = [
        tmp_path / name
        for name in (f".tmp-{os.getpid()}-0123abcd", ".tmp-notes", ".tmp-backup-2026.tar", f".tmp-{nobody()}-notes")
    ]
    for file in (left, *kept):
        file.touch()
    (tmp_path / ".tmp-folder").mkdir()
    clear_temporary(tmp_path)
    assert not left.exists()
    assert all(file.exists() for file in kept)


@pytest.mark.parametrize(
    ("umask", "before", "mode"), [(0o022, None, 0o644), (0o077, None, 0o600), (0o022, 0o660, 0o660)]
)
def test_a_file_keeps_its_mode_and_a_new_one_follows_the_umask(
    umask: int, before: int | None, mode: int, tmp_path: Path
) -> None:
    file = tmp_path / "answers.csv"
    if before is not None:
        file.touch()
        file.chmod(before)
    old = os.umask(umask)
    try:
        write_atomically(file, b"new")
    finally:
        os.umask(old)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", mode)


def test_a_pipe_stays_one_and_gets_what_is_written(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with opened(pipe) as file:
        file.write(b"answers")
    reader.join(10)
    assert read == [b"answers"]
    assert pipe.is_fifo()


def test_a_link_stays_one_and_its_file_is_replaced_whole(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("old")
    link.symlink_to(file)

    def fail(out: BinaryIO) -> None:
        out.write(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), opened(link) as out:
        fail(out)
    assert file.read_text() == "old"
    with opened(link) as out:
        out.write(b"new")
    assert link.is_symlink()
    assert file.read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), opened(tmp_path):
        pass
