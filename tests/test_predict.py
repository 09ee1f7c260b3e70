"""Prediction through the command line: files, folders, formats, files that cannot be read, the corpus."""

import csv
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pymupdf
import pytest
import torch

from stages.backbone.params import ModelParams
from stages.corpus.tables import COLUMNS, DOCUMENTS, write_table
from stages.inference.asking import CHUNK
from stages.inference.classifier import load_classifier
from stages.params import load, validate
from stages.predict import predict
from stages.runtime.settings import read_runtime
from stages.train import save, train
from tests.conftest import ROOT, edit_params, run_stage
from tests.small_training import FRAMES, small_params


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]) -> Path:
    """A folder with params.yaml, a trained tiny model and documents to classify."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    edit_params(folder / "params.yaml", {"extract.engine": "fast", "runtime.workers": 1})
    before = Path.cwd()
    os.chdir(folder)
    try:
        model = tiny_model("bert")
        settings = validate({**load()["model"], "name": str(model), "max_length": 32}, ModelParams, at="model")
        runtime = read_runtime().model_copy(update={"device": "cpu"})
        done = train(FRAMES, model, folder / "checkpoints", settings, small_params(), runtime)
        save(done, folder / "models/classifier", {})
    finally:
        os.chdir(before)
    papers = folder / "papers"
    (papers / "inner").mkdir(parents=True)
    (papers / "dough.txt").write_text("dough in the oven")
    (papers / "inner/über alles.md").write_text("# Signals\n\ntrain on the track")
    pdf = pymupdf.open()
    pdf.new_page().insert_text((72, 72), "a station and a train")
    pdf.save(papers / "station.pdf")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 nothing more")
    return folder


def test_a_folder_is_answered_in_json(trained: Path) -> None:
    done = run_stage("predict", "papers", "--format", "json", cwd=trained)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["document_id"] for row in rows] == ["dough", "inner/über alles", "station"]
    for row in rows:
        assert set(row["probabilities"]) == {"bread", "rail"}
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-3)
        assert row["label"] == max(row["probabilities"], key=row["probabilities"].__getitem__)


def test_probabilities_are_calibrated(trained: Path) -> None:
    file = trained / "models/classifier/temperature.json"
    before, said = file.read_text(), []
    try:
        for temperature in (0.02, 0.01):  # this model is hardly sure of anything
            file.write_text(json.dumps({"temperature": temperature}))
            [row] = json.loads(run_stage("predict", "papers/dough.txt", "--format", "json", cwd=trained).stdout)
            said.append(row["probabilities"])
    finally:
        file.write_text(before)
    warm, cold = (np.log(shares["bread"] / shares["rail"]) for shares in said)
    assert cold == pytest.approx(2 * warm, rel=0.01)
    assert abs(warm) > 0.1


def test_files_of_other_kinds_in_a_folder_are_named(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("dough")
    (tmp_path / "b.docx").write_text("dough")
    done = run_stage("predict", str(tmp_path), "--format", "csv", cwd=trained)
    assert done.returncode == 0
    assert "left out files of other kinds: 'b.docx'" in done.stderr


def test_a_file_that_cannot_be_read_is_named_and_the_others_answered(trained: Path) -> None:
    (trained / "letter.docx").write_text("dough in the oven")
    files = ["papers/dough.txt", "broken.pdf", "nowhere.pdf", "letter.docx"]
    done = run_stage("predict", *files, "--format", "csv", cwd=trained)
    assert done.returncode == 1
    assert [row["document_id"] for row in csv.DictReader(io.StringIO(done.stdout))] == ["dough"]
    assert "broken.pdf: damaged" in done.stderr
    assert "nowhere.pdf: damaged: no such file" in done.stderr
    assert "letter.docx: damaged: its name does not end in .pdf, .md, .txt" in done.stderr
    assert "3 of 4 documents could not be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_equal_names_from_two_folders_keep_their_paths(trained: Path) -> None:
    (trained / "more").mkdir(exist_ok=True)
    (trained / "more/dough.txt").write_text("more dough")
    done = run_stage("predict", "papers/dough.txt", "more/dough.txt", "--format", "json", cwd=trained)
    assert [row["document_id"] for row in json.loads(done.stdout)] == ["papers/dough.txt", "more/dough.txt"]


def test_the_table_names_document_probability_and_label(trained: Path) -> None:
    done = run_stage("predict", "papers", cwd=trained)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["document", "probability", "label"]
    assert len(lines) == 4


def test_the_whole_corpus_is_classified_from_the_extracted_text(trained: Path) -> None:
    rows = [
        {"document_id": "a", "text": "dough", "status": "ok"},
        {"document_id": "b", "text": "dough", "status": "duplicate"},
        {"document_id": "c", "text": "", "status": "damaged"},
    ]
    frame = pl.DataFrame(rows).with_columns(
        pl.lit(None, kind).alias(name)
        for name, kind in COLUMNS["documents.parquet"].items()
        if name not in ("document_id", "text", "status")
    )
    write_table(frame, trained / DOCUMENTS)
    done = run_stage("predict", "--corpus", "--format", "csv", "--output", "out/predictions.csv", cwd=trained)
    assert done.returncode == 0, done.stderr
    table = pl.read_csv(trained / "out/predictions.csv")
    assert table.columns == ["document_id", "label", "bread", "rail"]
    assert table["document_id"].to_list() == ["a", "b"]
    assert "left out, as nothing could be read of them: 'c'" in done.stderr


def test_without_a_model_one_line_says_so(workspace: Path) -> None:
    (workspace / "a.txt").write_text("words")
    done = run_stage("predict", "a.txt", cwd=workspace)
    assert done.returncode == 1
    assert done.stderr.startswith("error: models/classifier: no trained model there")


def test_the_log_says_how_many_texts_were_cut(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    classifier = load_classifier(trained / "models/classifier", "cpu")
    with caplog.at_level(logging.INFO):
        classifier.logits(["dough " * 100, "train", "track"], 2)
    assert "1 of 3 texts are longer than 32 tokens" in caplog.text


def test_the_answers_are_the_models_own_in_the_order_of_the_texts(trained: Path) -> None:
    classifier = load_classifier(trained / "models/classifier", "cpu")
    texts = [f"{'dough train track ' * (place % 7)} {place}" for place in range(CHUNK + 40)]
    found = classifier.logits(texts, 64)
    for place in range(0, len(texts), 50):
        batch = classifier.tokenizer(texts[place], truncation=True, return_tensors="pt")
        batch.pop("token_type_ids", None)
        with torch.inference_mode():
            wanted = classifier.model(**batch).logits
        np.testing.assert_allclose(found[place], wanted[0], atol=1e-6)


def test_the_number_of_cores_changes_no_bit(trained: Path) -> None:
    classifier = load_classifier(trained / "models/classifier", "cpu")
    texts = [f"{'dough train track ' * (place % 7)} {place}" for place in range(50)]
    before, found = torch.get_num_threads(), []
    try:
        for cores in (1, 3):
            torch.set_num_threads(cores)
            found.append(classifier.logits(texts, 64))
            assert torch.get_num_threads() == cores
    finally:
        torch.set_num_threads(before)
    assert found[0].tobytes() == found[1].tobytes()


def test_no_more_documents_are_read_than_are_being_answered(trained: Path) -> None:
    classifier = load_classifier(trained / "models/classifier", "cpu")
    drawn = answered = 0

    def documents() -> Iterator[tuple[str, str]]:
        nonlocal drawn
        for number in range(4 * CHUNK):
            drawn += 1
            yield str(number), "dough"

    def count(texts: int) -> None:
        nonlocal answered
        answered += texts

    seen: list[str] = []
    for names, probabilities in predict(documents(), classifier, 1000, count):
        assert len(names) == len(probabilities) <= CHUNK
        seen += names
        assert drawn <= len(seen) + CHUNK
        assert drawn <= 3 * len(seen)  # the first answers do not wait for a whole chunk
        assert answered >= len(seen)
    assert seen == [str(number) for number in range(4 * CHUNK)]
    assert answered == len(seen)


def test_json_lines_hold_what_json_holds(trained: Path) -> None:
    array, lines = (run_stage("predict", "papers", "--format", form, cwd=trained).stdout for form in ("json", "jsonl"))
    assert [json.loads(line) for line in lines.splitlines()] == json.loads(array)


def test_below_the_threshold_the_label_is_left_out_and_the_guess_stays(trained: Path) -> None:
    for threshold, abstains in (("0", False), ("1", True)):
        done = run_stage("predict", "papers", "--format", "jsonl", "--threshold", threshold, cwd=trained)
        for row in map(json.loads, done.stdout.splitlines()):
            assert row["guess"] == max(row["probabilities"], key=row["probabilities"].__getitem__)
            assert row["label"] == (None if abstains else row["guess"])
    assert "(" in run_stage("predict", "papers", "--threshold", "1", cwd=trained).stdout.splitlines()[1]


def test_parquet_needs_a_file_and_holds_what_csv_holds(trained: Path) -> None:
    refused = run_stage("predict", "papers", "--format", "parquet", cwd=trained)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "name a file with --output" in refused.stderr
    arguments = ["--threshold", "0.6", "--top-k", "1"]
    for form in ("parquet", "csv"):
        done = run_stage("predict", "papers", "--format", form, "--output", f"p.{form}", *arguments, cwd=trained)
        assert done.returncode == 0, done.stderr
    table = pl.read_parquet(trained / "p.parquet")
    assert table.columns == ["document_id", "label", "guess", "label_1", "probability_1"]
    assert table.equals(pl.read_csv(trained / "p.csv", schema=table.schema))


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_the_old_file(signal_number: int, trained: Path, tmp_path: Path) -> None:
    (many := tmp_path / "many").mkdir()
    for number in range(5000):
        (many / f"{number}.txt").write_text(f"dough {number} " * 30)
    (output := tmp_path / "out" / "predictions.csv").parent.mkdir()
    output.write_text("of an earlier run")
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.predict", str(many), "--format", "csv", "--output", str(output)],
        cwd=trained,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PIPELINE_CACHE": str(tmp_path / "cache")},
        stderr=subprocess.DEVNULL,
    )

    def written() -> int:
        return sum(file.stat().st_size for file in output.parent.glob(".tmp-*"))

    while not written() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal_number)
    assert process.wait(60) == (130 if signal_number == signal.SIGINT else -signal.SIGKILL)
    assert output.read_text() == "of an earlier run"
    if signal_number == signal.SIGINT:
        assert [file.name for file in output.parent.iterdir()] == ["predictions.csv"]


@pytest.mark.parametrize("lost", ["model.safetensors", "tokenizer.json"])
def test_a_model_of_which_a_file_is_missing_or_damaged_is_one_line(lost: str, trained: Path) -> None:
    file = trained / "models/classifier" / lost
    for spoil in (lambda: file.write_bytes(file.read_bytes()[:100]), file.unlink):
        spoil()
        done = run_stage("predict", "papers", cwd=trained)
        assert done.returncode == 1
        assert re.fullmatch(
            r"error: models/classifier: cannot be loaded \(.+\): `dvc checkout models/classifier` brings it back",
            done.stderr.splitlines()[-1],
        )
        assert "Traceback" not in done.stderr


def test_an_output_that_is_a_folder_is_refused_before_anything_is_read(trained: Path) -> None:
    done = run_stage("predict", "papers", "--output", "papers", cwd=trained)
    assert done.returncode == 2
    assert "error: --output papers: is a folder: name a file in it" in done.stderr
