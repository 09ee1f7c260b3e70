"""The pipeline in a real clone, with real git and DVC: what reruns, what does not, experiments, branches."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pymupdf
import pytest

from tests.conftest import ROOT, edit_params, make_corpus

SUBJECTS = {
    "bread": "flour oven dough crust yeast baker loaf rye kneading salt",
    "rail": "train track signal station carriage platform driver sleeper points freight",
    "bees": "hive honey queen swarm wax nectar pollen comb drone smoker",
}
EVERY = ["extract", "annotate", "merge_classes", "split", "train", "evaluate"]
# `python` of the pipeline's commands must be the one that runs the tests.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "PIPELINE_CACHE"},
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    **{f"GIT_{who}_NAME": "A Tester" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "tester@example.org" for who in ("AUTHOR", "COMMITTER")},
    "GIT_CONFIG_COUNT": "3",
    "GIT_CONFIG_KEY_0": "user.name",
    "GIT_CONFIG_VALUE_0": "A Tester",
    "GIT_CONFIG_KEY_1": "user.email",
    "GIT_CONFIG_VALUE_1": "tester@example.org",
    "GIT_CONFIG_KEY_2": "init.defaultBranch",
    "GIT_CONFIG_VALUE_2": "main",
}


class Clone:
    """A clone of this repository set to a mini corpus and a tiny random model, run once and committed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def repro(self, *options: str) -> list[str]:
        """Run `dvc repro` and return the stages it ran."""
        return re.findall(r"^Running stage '(\w+)'", self.run("dvc", "repro", *options), re.MULTILINE)

    def restore(self) -> None:
        self.run("git", "checkout", "-q", "-f", "main")
        self.run("git", "clean", "-q", "-f", "-d", "data", "stages", "metrics")
        self.run("dvc", "checkout", "-q")


def text_of(label: str, place: int) -> str:
    words = SUBJECTS[label].split()
    return " ".join(words[(place * step + step) % len(words)] for step in range(1, 30)) + f" {label} number {place}."


def write_pdf(path: Path, text: str) -> None:
    document = pymupdf.open()
    document.new_page().insert_textbox(pymupdf.Rect(50, 50, 500, 800), text)
    document.save(path, no_new_id=True)


def make_clone(folder: Path, model: Path) -> Clone:
    clone = Clone(folder)
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True, env=ENVIRONMENT)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-c", "-o", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    clone.run("git", "checkout", "-q", "-B", "main")

    labels = [f"{label}-{place},{label}" for label in SUBJECTS for place in range(8)]
    texts = {f"{label}-{place}.txt": text_of(label, place) for label in SUBJECTS for place in range(8)}
    pdf = texts.pop("bread-0.txt")
    corpus = make_corpus(
        folder / "data/mini",
        texts,
        metadata=["rail-1,points"],
        categories=["bread,baking", "rail,trains", "bees,keeping bees"],
        labels=[*labels, "later,bees"],
        gold=["rail-2,rail", "bees-3,bees", "bread-1,bread"],
    )
    write_pdf(corpus / "documents/bread-0.pdf", pdf)
    shutil.copytree(model, folder / "models/pretrained/tiny")
    edit_params(
        folder / "params.yaml",
        {
            "corpus": "data/mini",
            "extract.engine": "fast",
            "annotate.provider": "file",
            "merge_classes.min_count": 2,
            "split.validation_size": 0.2,
            "model.name": "models/pretrained/tiny",
            "model.max_length": 48,
            "train.epochs": 2,
            "train.batch_size": 8,
            "train.trainable_layers": 1,
            "train.lr": 0.01,
            # So little is learned here that a fitted head would be kept as it is.
            "train.head_start": "random",
        },
    )
    clone.run("dvc", "add", "-q", "models/pretrained/tiny")
    assert clone.repro() == EVERY
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-q", "-m", "Mini corpus")
    return clone


@pytest.fixture
def clone(shared_clone: Clone) -> Iterator[Clone]:
    yield shared_clone
    shared_clone.restore()


def replace(file: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / file).read_text(encoding="utf-8")
        assert old in text, f"{file} lacks {old!r}"
        (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def add_line(file: str, line: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with (folder / file).open("a", encoding="utf-8") as content:
            content.write(line + "\n")

    return change


def param(key: str, value: object) -> Callable[[Path], None]:
    return lambda folder: edit_params(folder / "params.yaml", {key: value})


def add_pdf(name: str) -> Callable[[Path], None]:
    return lambda folder: write_pdf(folder / f"data/mini/documents/{name}.pdf", text_of("bees", 11))


def in_train(folder: Path) -> str:
    import polars as pl

    return str(pl.read_parquet(folder / "data/split/train.parquet").filter(label="rail")["document_id"][0])


# What is changed, and the stages that must run for it: downstream ones only where an output really differs.
CHANGES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "nothing": (lambda folder: None, []),
    "a runtime param": (param("runtime.workers", 1), []),
    "an extract param": (param("extract.max_tokens", 4000), ["extract"]),
    "an annotate param": (param("annotate.seed", 7), ["annotate"]),
    "a param of another provider": (param("annotate.zero_shot.temperature", 0.1), []),
    "a merge_classes param": (param("merge_classes.min_count", 3), ["merge_classes"]),
    "a split param": (param("split.seed", 1), ["split", "train", "evaluate"]),
    "a model param": (param("model.max_length", 16), ["train", "evaluate"]),
    "a train param": (param("train.label_smoothing", 0.1), ["train", "evaluate"]),
    "an evaluate param": (param("evaluate.tfidf.C", 2.0), ["evaluate"]),
    "a labelled PDF added": (add_pdf("later"), EVERY),
    "an unlabelled PDF added": (add_pdf("unlabelled"), EVERY[:4]),
    "metadata.csv": (replace("data/mini/metadata.csv", "points", "buffers"), EVERY),
    "categories.csv": (
        replace("data/mini/categories.csv", "baking", "baking bread"),
        ["annotate", "merge_classes"],
    ),
    "labels.csv": (replace("data/mini/labels.csv", "bees-1,bees", "bees-1,bread"), EVERY[1:]),
    "examples.csv": (
        lambda folder: add_line("data/mini/examples.csv", f"{in_train(folder)},rail")(folder),
        ["annotate", "split"],
    ),
    "gold.csv": (replace("data/mini/gold.csv", "rail-2,rail", "rail-2,bees"), ["annotate", "split", "evaluate"]),
    "classes.csv": (add_line("data/mini/classes.csv", "bees,bread"), EVERY[2:]),
    "overrides.csv": (add_line("data/mini/overrides.csv", "bees-1,bread"), EVERY[2:]),
    # A person has checked a label: nothing is to be learned anew.
    "an override that keeps its label": (
        add_line("data/mini/overrides.csv", "bees-1,bees"),
        ["merge_classes", "evaluate"],
    ),
    **{f"code of {stage}": (add_line(f"stages/{stage}.py", "# a comment"), [stage]) for stage in EVERY},
    "code of the zero-shot annotator": (add_line("stages/annotators/zero_shot.py", "# a comment"), ["annotate"]),
    "a message": (add_line("stages/runtime/errors.py", "# a comment"), []),
}


@pytest.mark.xdist_group("changes")
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_reruns_exactly_its_stages(change: str, clone: Clone) -> None:
    make, expected = CHANGES[change]
    make(clone.folder)
    assert clone.repro() == expected
    assert clone.repro() == []


@pytest.mark.xdist_group("changes")
def test_after_a_pull_documents_that_were_read_before_come_from_the_last_output(clone: Clone) -> None:
    """A colleague's store is empty; the last output is in DVC's cache and, as DVC removes it, no longer here."""
    store = clone.folder / ".cache/extract"
    shutil.rmtree(store)
    add_pdf("new")(clone.folder)
    said = clone.run("bash", "-c", "dvc repro extract 2>&1")
    assert "the store is filled from the last output" in said
    documents = list((clone.folder / "data/mini/documents").iterdir())
    assert sum(file.is_file() for file in store.rglob("*")) == len(documents)


@pytest.mark.xdist_group("experiments")
def test_forced_again_and_in_a_fresh_clone_the_outputs_are_the_same(clone: Clone, tmp_path: Path) -> None:
    lock = (clone.folder / "dvc.lock").read_text()
    assert clone.repro("--force") == EVERY
    assert (clone.folder / "dvc.lock").read_text() == lock
    assert clone.run("git", "status", "--porcelain") == ""

    fresh = Clone(tmp_path / "fresh")
    subprocess.run(["git", "clone", "-q", clone.folder, fresh.folder], check=True, env=ENVIRONMENT)
    shutil.copytree(clone.folder / "models/pretrained/tiny", fresh.folder / "models/pretrained/tiny")
    # The last stage has no output outside git, and what it reads came out the same.
    assert fresh.repro() == EVERY[:5]
    assert (fresh.folder / "dvc.lock").read_text() == lock


@pytest.mark.xdist_group("experiments")
def test_experiments_run_directly_and_from_the_queue(clone: Clone) -> None:
    clone.run("dvc", "exp", "run", "-S", "train.lr=5e-4")
    clone.run("dvc", "exp", "run", "--queue", "-S", "train.lr=5e-05")
    clone.run("dvc", "exp", "run", "--queue", "-S", "train.epochs=1")
    clone.run("dvc", "exp", "run", "--run-all")
    rows = list(csv.DictReader(io.StringIO(clone.run("dvc", "exp", "show", "--csv"))))
    results = [row for row in rows if row["rev"] not in ("workspace", "main")]
    assert sorted((float(row["train.lr"]), int(row["train.epochs"])) for row in results) == [
        (5e-05, 2),
        (0.0005, 1),  # queued from the workspace that the first experiment left
        (0.0005, 2),
    ]
    assert all(0 <= float(row["test.macro_f1"]) <= 1 for row in results)


@contextmanager
def queue_workers(clone: Clone) -> Iterator[Callable[[int], set[str]]]:
    """Run what is queued with so many workers; returns the names of those seen to run together. No worker stays."""
    workers = clone.folder / ".dvc/tmp/exps/celery"

    def alive() -> list[int]:
        found = []
        for file in workers.glob("dvc-exp-worker-*.pid"):
            with suppress(ProcessLookupError):
                os.kill(int(file.read_text()), 0)
                found.append(int(file.read_text()))
        return found

    def run(jobs: int) -> set[str]:
        # Not `clone.run`: the workers keep its pipes open.
        command = ["dvc", "queue", "start", "-j", str(jobs)]
        subprocess.run(command, cwd=clone.folder, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
        together, status = set[str](), ""
        deadline = time.monotonic() + 400
        while time.monotonic() < deadline:
            asked = subprocess.run(
                ["dvc", "queue", "status"],
                cwd=clone.folder,
                env=ENVIRONMENT,
                capture_output=True,
                text=True,
                check=False,
            )
            status = asked.stdout + asked.stderr
            # A message that DVC's own queue has written half of so far: it is whole the next time.
            if asked.returncode and "Expecting value" in status:
                time.sleep(1)
                continue
            assert asked.returncode == 0, status
            assert "Failed" not in status, status
            running = re.findall(r"^\w+ +(\S+) .*(?:Running|Queued) *$", status, re.MULTILINE)
            if not running:
                return together
            if status.count("Running") > 1:
                together |= set(running)
            time.sleep(1)
        raise AssertionError(status)

    try:
        yield run
    finally:
        # An idle worker ends by itself ten seconds after the last task.
        subprocess.run(["dvc", "queue", "stop", "--kill"], cwd=clone.folder, env=ENVIRONMENT, check=False)
        deadline = time.monotonic() + 60
        while alive() and time.monotonic() < deadline:
            time.sleep(0.5)
        for pid in (left := alive()):
            os.killpg(os.getpgid(pid), signal.SIGKILL)
    assert left == []


@pytest.fixture
def work_off_the_queue(clone: Clone) -> Iterator[Callable[[int], set[str]]]:
    with queue_workers(clone) as run:
        yield run
    clone.run("dvc", "exp", "remove", "-q", "--all-commits")


@pytest.mark.xdist_group("experiments")
def test_two_experiments_at_once_give_what_they_give_one_after_another(
    clone: Clone, work_off_the_queue: Callable[[int], set[str]]
) -> None:
    changes = {"lower": "train.lr=0.003", "seeded": "train.seed=1"}

    def results() -> dict[str, str]:
        """Return the tree of each experiment's commit: everything in git, and by dvc.lock everything in DVC."""
        refs = clone.run("git", "for-each-ref", "--format=%(refname:lstrip=4) %(tree)", "refs/exps/*/*/*")
        trees = dict(line.split() for line in refs.splitlines())
        return {name: tree for name, tree in trees.items() if name in changes}  # other tests leave theirs

    for name, change in changes.items():
        clone.run("dvc", "exp", "run", "--queue", "-n", name, "-S", change)
    assert work_off_the_queue(2) == set(changes)
    at_once = results()
    assert set(at_once) == set(changes)

    clone.run("dvc", "exp", "remove", "-q", *changes)
    shutil.rmtree(clone.folder / ".dvc/cache/runs")  # else DVC takes the results from there
    for name, change in changes.items():
        assert "Running stage 'train'" in clone.run("dvc", "exp", "run", "--temp", "-n", name, "-S", change)
    assert results() == at_once
    assert list((clone.folder / ".cache/checkpoints").iterdir()) == []


@pytest.mark.xdist_group("experiments")
def test_metrics_diff_compares_two_branches(clone: Clone) -> None:
    clone.run("git", "checkout", "-q", "-b", "slower")
    edit_params(clone.folder / "params.yaml", {"train.lr": 0.001})
    assert clone.repro() == ["train", "evaluate"]
    clone.run("git", "commit", "-q", "-a", "-m", "A lower learning rate")
    difference = json.loads(clone.run("dvc", "metrics", "diff", "--json", "main", "slower"))
    loss = difference["metrics/train/metrics.json"]["train.loss"]
    assert loss["new"] != loss["old"]


@pytest.mark.xdist_group("experiments")
def test_a_killed_stage_goes_on_to_the_same_outputs(clone: Clone) -> None:
    lock = (clone.folder / "dvc.lock").read_text()
    process = subprocess.Popen(
        ["dvc", "repro", "--force"],
        cwd=clone.folder,
        env=ENVIRONMENT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 200
    while not list((clone.folder / ".cache/checkpoints").glob("*/train/checkpoint-*")) and time.monotonic() < deadline:
        assert process.poll() is None, "dvc repro ended before training had a checkpoint"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    clone.repro()
    assert (clone.folder / "dvc.lock").read_text() == lock
    assert clone.run("git", "status", "--porcelain") == ""


@pytest.mark.xdist_group("experiments")
def test_every_plot_and_metric_can_be_shown(clone: Clone) -> None:
    metrics = json.loads(clone.run("dvc", "metrics", "show", "--json"))
    shown = metrics[""]["data"] if "" in metrics else metrics["workspace"]["data"]
    assert {"metrics/evaluate.json", "metrics/annotate.json", "metrics/train.json"} <= set(shown)
    clone.run("dvc", "plots", "show", "-o", ".cache/plots")
    page = (clone.folder / ".cache/plots/index.html").read_text(encoding="utf-8")
    for title in ("Confusion on the test set", "F1 of each class", "Documents by length"):
        assert title in page
