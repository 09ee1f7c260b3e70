"""Worker processes, the store, and the last output that fills it."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from stages.corpus.documents import list_documents
from stages.corpus.tables import DOCUMENTS, KEYS, SLICE, read_table, table_in_parts, write_table
from stages.extract import extract
from stages.extraction.params import ExtractParams
from stages.extraction.reading import Extracted, read
from stages.extraction.stored import Read, read_stored
from stages.extraction.workers import GROWN, read_all, read_in_worker
from tests.conftest import ROOT
from tests.small_pdfs import FAST, LAYOUT, PROSE, pdf, shorter, slow_pdf, stored

NO_METADATA = pl.DataFrame(schema={"document_id": pl.String})


def read_files(files: list[Path], params: ExtractParams, workers: int) -> Iterator[Extracted]:
    return (each.found for each in read_all(files, params, workers))


def test_a_second_run_is_answered_from_the_store(workspace: Path) -> None:
    """The entry is replaced by another document's: only a reader that asks the store can give that back."""
    (workspace / "a.md").write_text("some words", encoding="utf-8")
    [first] = read_files([workspace / "a.md"], FAST, 1)
    assert first == read(b"some words", ".md", FAST)
    [entry] = stored(workspace)
    (workspace / "b.txt").write_text("quite another text", encoding="utf-8")
    [other] = read_files([workspace / "b.txt"], FAST, 1)
    entry.write_bytes(next(path for path in stored(workspace) if path != entry).read_bytes())
    (workspace / "renamed.md").write_text("some words", encoding="utf-8")
    assert list(read_files([workspace / "renamed.md"], FAST, 1)) == [other]
    assert [result.body for result in read_files([workspace / "renamed.md"], shorter(1), 1)] == ["some"]


def test_a_document_that_hangs_or_kills_its_worker_costs_itself_alone(workspace: Path) -> None:
    contents = {"a.md": b"a", "killed.pdf": slow_pdf(19), "slow.pdf": slow_pdf(20), "z.md": b"z"}
    files = [workspace / name for name in contents]
    for file in files:
        file.write_bytes(contents[file.name])
    hurried = FAST.model_copy(update={"timeout_s": 5.0, "max_tokens": 10_000_000})
    results = read_files(files, hurried, 1)
    assert next(results).status == "ok"
    time.sleep(0.5)
    for worker in multiprocessing.active_children():
        worker.kill()
    killed, slow, last = results
    assert (killed.status, slow.status, last.status) == ("crashed", "timeout", "ok")
    assert "the worker process died" in str(killed.error)
    assert slow.error == "took longer than extract.timeout_s (5 s)"
    assert len(stored(workspace)) == 2


def test_a_timed_out_document_is_tried_again(workspace: Path) -> None:
    (workspace / "a.pdf").write_bytes(pdf(PROSE))
    hurried = FAST.model_copy(update={"timeout_s": 0.001})
    assert [result.status for result in read_files([workspace / "a.pdf"], hurried, 1)] == ["timeout"]
    assert [result.status for result in read_files([workspace / "a.pdf"], FAST, 1)] == ["ok"]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_a_document_that_needs_too_much_memory_costs_itself_alone(workspace: Path) -> None:
    with (workspace / "a.txt").open("wb") as file:
        file.truncate(1 << 30)
    (workspace / "b.txt").write_text("words", encoding="utf-8")
    limited = FAST.model_copy(update={"memory_mb": 512})
    big, small = read_files([workspace / "a.txt", workspace / "b.txt"], limited, 1)
    assert (big.status, big.error) == ("crashed", "needs more than extract.memory_mb (512 MB)")
    assert small.status == "ok"
    assert len(stored(workspace)) == 1


def read_and_note(file: Path, params: ExtractParams) -> Read:
    """Read as a worker does, and leave a note of it."""
    with Path("notes.txt").open("a", encoding="utf-8") as notes:
        notes.write(f"{file.name}\n")
    return read_stored(file, params)


def grow_once(file: Path, params: ExtractParams) -> Read:
    """End the worker before each document's first try, as one that has grown does."""
    tried = file.with_suffix(".tried")
    if not tried.exists():
        tried.touch()
        os._exit(GROWN)
    return read_stored(file, params)


def notes() -> list[str]:
    return sorted(Path("notes.txt").read_text(encoding="utf-8").split()) if Path("notes.txt").exists() else []


def test_a_worker_that_has_grown_costs_no_document(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.extraction.workers.read_in_worker", grow_once)
    files = [workspace / "a.md", workspace / "b.md"]
    for file in files:
        file.write_text(file.name, encoding="utf-8")
    assert [found.body for found in read_files(files, FAST, 1)] == ["a.md", "b.md"]


def test_a_worker_has_grown_when_it_holds_half_of_what_its_documents_could_use(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(code: int) -> None:
        raise SystemExit(code)

    # After the first; before and after the second; before the third.
    levels = [300, 649, 400, 651]
    monkeypatch.setattr("stages.extraction.workers._held", lambda: levels.pop(0) << 20)
    monkeypatch.setattr("stages.extraction.workers.os._exit", leave)
    monkeypatch.setattr("stages.extraction.workers._Memory.least", sys.maxsize)
    (workspace / "a.md").write_text("words", encoding="utf-8")
    limited = FAST.model_copy(update={"memory_mb": 1000})
    read_in_worker(workspace / "a.md", limited)
    read_in_worker(workspace / "a.md", limited)
    with pytest.raises(SystemExit, match=str(GROWN)):
        read_in_worker(workspace / "a.md", limited)


def test_equal_files_are_read_once(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.extraction.workers.read_in_worker", read_and_note)
    files = [workspace / f"{number}.md" for number in range(5)]
    for file in files:
        file.write_text("the same words", encoding="utf-8")
    assert [found.body for found in read_files(files, FAST, 2)] == ["the same words"] * 5
    assert len(notes()) == 1


def test_an_empty_store_is_filled_from_the_last_output_and_only_what_is_new_is_read(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = workspace / "documents"
    documents.mkdir()
    contents = {
        "a.pdf": pdf(PROSE, title="On Ferries"),
        "b.md": b"# Bees\n\nhum",
        "c.md": b"# Bees\n\nhum\n",
        "d.pdf": b"",
    }
    for name, content in contents.items():
        (documents / name).write_bytes(content)
    titles = pl.DataFrame({"document_id": ["a"], "title": ["Of the library"]})
    first_tables = (Path("first") / DOCUMENTS.name, Path("first") / KEYS.name)

    def last() -> tuple[Path, Path] | None:
        return first_tables if first_tables[0].exists() else None

    def run(folder: str) -> pl.DataFrame:
        table, sources = Path(folder) / DOCUMENTS.name, list_documents(documents).sources
        with table_in_parts(table) as write:
            for part in extract(sources, titles, FAST, 1, last):
                write(part)
                write_table(part, table.with_name(KEYS.name))
        (workspace / ".cache").rename(workspace / f"cache-of-{folder}")
        return read_table(table)

    first = run("first")
    monkeypatch.setattr("stages.extraction.workers.read_in_worker", read_and_note)
    second = run("second")
    assert notes() == []
    assert second.equals(first)
    assert first["status"].to_list() == ["ok", "ok", "duplicate", "damaged"]

    (documents / "e.md").write_text("quite new", encoding="utf-8")
    [table] = extract(list_documents(documents).sources, titles, FAST, 1, last)
    assert notes() == ["e.md"]
    assert table.select(first.columns)[:4].equals(first)
    # Of other settings the last output says nothing.
    (workspace / ".cache").rename(workspace / "cache-of-third")
    [table] = extract(list_documents(documents).sources, titles, shorter(1), 1, last)
    assert len(notes()) == 1 + 5


def test_a_table_is_written_in_row_groups_and_whole_or_not_at_all(workspace: Path) -> None:
    documents = workspace / "documents"
    documents.mkdir()
    for number in range(SLICE + 3):
        (documents / f"{number:04}.txt").write_text(f"words {number}", encoding="utf-8")
    table = workspace / "made" / DOCUMENTS.name
    with table_in_parts(table) as write:
        for part in extract(list_documents(documents).sources, NO_METADATA, FAST, 2):
            write(part)
            assert list(table.parent.glob("*.parquet")) == []
    assert pq.ParquetFile(table).num_row_groups == 2
    assert read_table(table)["document_id"].to_list() == [f"{number:04}" for number in range(SLICE + 3)]
    before = table.read_bytes()
    left = table.parent / ".tmp-999999999-0123abcd"
    left.touch()
    with pytest.raises(KeyError), table_in_parts(table) as write:
        raise KeyError
    assert table.read_bytes() == before
    assert [file.name for file in table.parent.iterdir()] == [DOCUMENTS.name]


def test_a_worker_runs_the_layout_model_in_one_thread(workspace: Path) -> None:
    """Importing PyMuPDF loads the model: what is set afterwards comes too late."""
    (workspace / "a.pdf").write_bytes(pdf(PROSE))
    code = f"""
import gc
from pathlib import Path
from stages.extraction.params import ExtractParams
from stages.extraction.reading import read
read(Path("a.pdf").read_bytes(), ".pdf", ExtractParams(**{LAYOUT.model_dump()}))
import onnxruntime
sessions = [each for each in gc.get_objects() if isinstance(each, onnxruntime.InferenceSession)]
print({{session.get_session_options().intra_op_num_threads for session in sessions}})
"""
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{1}"
