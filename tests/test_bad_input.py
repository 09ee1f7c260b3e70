"""What a person sees who gives `python -m stages.X` something it cannot use: one line that says what and where."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from string import ascii_letters

import pytest

from tests.conftest import ROOT, edit_params, make_corpus, run_stage

Params = dict[str, object]
SetUp = Callable[[Path], object]


def corpus_in(workspace: Path, documents: dict[str, str] | None = None, **rows: list[str]) -> Path:
    """Make a corpus `mine` of one document (or those given) that params.yaml reads with the fast engine."""
    changes: Params = {"corpus": "mine", "extract.engine": "fast", "annotate.provider": "file", "runtime.workers": 1}
    edit_params(workspace / "params.yaml", changes)
    return make_corpus(workspace / "mine", {"a.md": "some words"} if documents is None else documents, **rows)


def error_of(finished: subprocess.CompletedProcess[str], workspace: Path) -> str:
    """Return the one error line; fail on a traceback, on more of them, or on anything written."""
    errors = [line for line in finished.stderr.splitlines() if line.startswith("error: ")]
    assert finished.returncode == 1, finished.stderr
    assert len(errors) == 1, finished.stderr
    assert finished.stderr.splitlines()[-1] == errors[0]
    assert "Traceback" not in finished.stderr
    assert not [path for top in ("data", "metrics") for path in (workspace / top).rglob("*") if path.is_file()]
    return errors[0].removeprefix("error: ")


def replaced(file: str, old: str, new: str) -> SetUp:
    """Return a change that replaces a piece of a text file in the workspace."""

    def change(workspace: Path) -> None:
        path = workspace / file
        content = path.read_text(encoding="utf-8")
        assert content.count(old) == 1
        path.write_text(content.replace(old, new), encoding="utf-8")

    return change


def removed(file: str) -> SetUp:
    return lambda workspace: (workspace / file).unlink()


def written(file: str, content: bytes) -> SetUp:
    return lambda workspace: (workspace / file).write_bytes(content)


def param(key: str, value: object) -> SetUp:
    return lambda workspace: edit_params(workspace / "params.yaml", {key: value})


def only_other_kinds(workspace: Path) -> None:
    (workspace / "mine/documents/a.md").rename(workspace / "mine/documents/a.docx")


def no_documents_folder(workspace: Path) -> None:
    (workspace / "mine/documents").rename(workspace / "mine/papers")


def a_file_where_outputs_go(workspace: Path) -> None:
    (workspace / "data").symlink_to("params.yaml")


@pytest.mark.parametrize(
    ("set_up", "message"),
    [
        (param("train.lr", "fast"), "params.yaml: train.lr: must be a valid number (is 'fast')"),
        (param("extract.max_tokens", 0), "params.yaml: extract.max_tokens: must be greater than or equal to 1 (is 0)"),
        (param("extract.engine", "slow"), "params.yaml: extract.engine: must be 'layout' or 'fast' (is 'slow')"),
        (
            param("extract.metadata_columns", "a"),
            "params.yaml: extract.metadata_columns: must be a valid list (is 'a')",
        ),
        (param("train", None), "params.yaml: train: must be a section with keys below it (is None)"),
        (replaced("params.yaml", "  epochs:", "  epoch:"), "train.epoch is no known key; did you mean epochs?"),
        (replaced("params.yaml", "\nextract:", "\nextractt:"), "params.yaml: extract is missing"),
        (removed("params.yaml"), "params.yaml is missing here: run from the folder that holds it"),
        (written("params.yaml", b"corpus: [mine"), "params.yaml cannot be read as YAML"),
        (written("params.yaml", b"corpus: \xff"), "params.yaml cannot be read as YAML"),
        (written("params.yaml", b"mine"), "params.yaml holds no sections"),
        (param("corpus", "yours"), "params.yaml: corpus: there is no folder 'yours': copy data/template to it"),
        (
            removed("mine/metadata.csv"),
            "mine/metadata.csv is missing: make it (the line 'document_id' alone means none)",
        ),
        (written("mine/metadata.csv", b"id,keywords\n"), "mine/metadata.csv: column 'document_id' is missing"),
        (removed("mine/documents/a.md"), "mine/documents: no .pdf, .md, .txt file in this folder (it is empty)"),
        (only_other_kinds, "mine/documents: no .pdf, .md, .txt file in this folder (it holds 1 of other kinds: .docx)"),
        (no_documents_folder, "mine/documents: there is no such folder"),
        (written("mine/documents/a.md", b""), "mine/documents: none of the 1 documents could be read"),
        (a_file_where_outputs_go, "data/extracted: Not a directory"),
    ],
)
def test_extract_stops_with_one_line(workspace: Path, set_up: SetUp, message: str) -> None:
    corpus_in(workspace)
    set_up(workspace)
    assert message in error_of(run_stage("extract", cwd=workspace), workspace)


def test_every_fault_of_params_is_named_in_the_same_line(workspace: Path) -> None:
    corpus_in(workspace)
    param("split.test_size", 2.0)(workspace)
    param("model.max_length", "long")(workspace)
    line = error_of(run_stage("extract", cwd=workspace), workspace)
    assert "split.test_size: must be" in line
    assert "model.max_length: must be" in line


def test_a_missing_metadata_column_is_found_before_a_document_is_read(workspace: Path) -> None:
    corpus_in(workspace)
    param("extract.metadata_columns", ["year"])(workspace)
    assert "metadata.csv has no column 'year'" in error_of(run_stage("extract", cwd=workspace), workspace)
    assert not (workspace / ".cache").exists()


@pytest.mark.parametrize(
    ("stage", "table"),
    [
        ("annotate", "data/extracted/documents.parquet"),
        ("merge_classes", "data/annotated/annotations.parquet"),
        ("split", "data/merged/labels.parquet"),
    ],
)
def test_a_stage_without_its_input_names_the_table_and_the_remedy(workspace: Path, stage: str, table: str) -> None:
    corpus_in(workspace)
    line = error_of(run_stage(stage, cwd=workspace), workspace)
    assert line.endswith(".parquet is missing: `dvc repro` makes it, `dvc checkout` restores it")
    assert line.startswith(("data/extracted/documents.parquet", table))


def test_a_document_that_cannot_be_read_is_named_and_the_run_goes_on(workspace: Path) -> None:
    corpus = corpus_in(workspace, {"a.md": "some words", "b.docx": ""}, metadata=["a,sea", "typo,sea"])
    (corpus / "documents/broken.pdf").write_bytes(b"no PDF")
    (corpus / "documents/link.txt").symlink_to("nowhere")
    (corpus / os.fsdecode(b"documents/caf\xe9\n.txt")).write_text("other words", encoding="utf-8")
    finished = run_stage("extract", cwd=workspace)
    assert finished.returncode == 0, finished.stderr
    assert "damaged: 'broken': no PDF that can be opened" in finished.stderr
    assert "damaged: 'link': a link that leads nowhere" in finished.stderr
    assert "mine/metadata.csv: no such document: 'typo'" in finished.stderr
    assert "mine/documents: left out files of other kinds: 'b.docx'" in finished.stderr
    status = json.loads((workspace / "metrics/extract.json").read_text(encoding="utf-8"))["status"]
    assert (status["ok"], status["damaged"]) == (2, 2)


def test_labels_of_unknown_documents_are_counted_and_the_run_goes_on(workspace: Path) -> None:
    corpus_in(workspace, labels=["a,sport", "b,sport", "c,sport"])
    assert run_stage("extract", cwd=workspace).returncode == 0
    finished = run_stage("annotate", cwd=workspace)
    assert finished.returncode == 0, finished.stderr
    assert (
        "mine/labels.csv: ignored, not ids of documents (the path below documents/ without the ending): 'b', 'c'"
        in finished.stderr
    )
    metrics = json.loads((workspace / "metrics/annotate.json").read_text(encoding="utf-8"))
    assert (metrics["annotated"], metrics["unknown_labels"]) == (1, 2)


@pytest.fixture
def full_disk(workspace: Path) -> Iterator[Path]:
    """A file system of 64 KiB that is full but for 4, mounted at the workspace's `data`."""
    folder = workspace / "data"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    (folder / "filler").write_bytes(b"x" * 60 * 1024)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(workspace: Path, full_disk: Path) -> None:
    letters = random.Random(0)
    corpus_in(workspace, {f"{number}.md": "".join(letters.choices(ascii_letters, k=2000)) for number in range(10)})
    finished = run_stage("extract", cwd=workspace)
    (full_disk / "filler").unlink()
    line = error_of(finished, workspace)
    assert line.startswith("no space left on the disk while writing data/extracted/documents.parquet: free some")
    assert run_stage("extract", cwd=workspace).returncode == 0


def test_a_full_disk_below_the_store_is_one_line_too(workspace: Path, full_disk: Path) -> None:
    corpus_in(workspace, {"a.md": "words " * 2000})
    finished = run_stage("extract", cwd=workspace, PIPELINE_CACHE=str(full_disk / "cache"))
    (full_disk / "filler").unlink()
    assert error_of(finished, workspace).startswith("no space left on the disk while writing ")


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("data/mine", 2)])
def test_a_stage_takes_no_arguments_and_says_so_before_it_runs(argument: str, code: int, workspace: Path) -> None:
    corpus_in(workspace)
    finished = run_stage("extract", argument, cwd=workspace)
    assert finished.returncode == code
    assert "usage: python -m stages.extract" in finished.stdout + finished.stderr
    assert not (workspace / "data/extracted").exists()


STAGE = """
import time
from stages.runtime.command import run
def main():
    print("started", flush=True)
    time.sleep(3)
    print("finished", flush=True)
run(main, own_arguments=True)
"""


@pytest.mark.parametrize(("environment", "ending"), [({"DVC_STAGE": "train"}, ""), ({}, "finished\n")])
def test_a_stage_ends_with_the_dvc_that_started_it_but_not_with_a_shell(
    environment: dict[str, str], ending: str, workspace: Path
) -> None:
    parent = subprocess.Popen(
        ["sh", "-c", '"$0" -c "$1"; true', sys.executable, STAGE],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "started\n"
    parent.kill()
    parent.wait()
    assert parent.stdout.read() == ending  # until the stage has closed it, too


TALKER = """
from stages.runtime.command import run
run(lambda: print("word " * 100_000), own_arguments=True)
"""


def test_output_that_nobody_reads_to_its_end_is_no_error(workspace: Path) -> None:
    ended = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" | head -c 4', sys.executable, TALKER],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (ended.stdout, ended.stderr) == ("word", "")
