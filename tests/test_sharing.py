"""Sharing as the README says, with real git and DVC: data, experiments, a grid on two workers, comparisons."""

import csv
import io
import itertools
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.params import load
from tests.conftest import ROOT
from tests.test_pipeline import ENVIRONMENT, Clone, queue_workers

GIT = "git@example.org:team/topics.git"
# Of the README's grid, what is run here: learning rate, label smoothing, class weights.
CHOSEN = (1e-4, 0.1, "balanced")

pytestmark = pytest.mark.xdist_group("experiments")  # whose clone has been run already


def readme(heading: str) -> list[list[str]]:
    """Return the commands in the bash blocks below a heading of the README, block by block, comments left out."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.search(rf"^### {re.escape(heading)}$(.*?)^##", text, re.MULTILINE | re.DOTALL)
    assert section, f"README.md has no section {heading!r}"
    blocks = re.findall(r"^```bash\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)
    return [[line for line in block.splitlines() if shlex.split(line, comments=True)] for block in blocks]


class Team:
    """Someone's repository, the git and DVC remotes, and a place for colleagues."""

    def __init__(self, own: Clone, folder: Path) -> None:
        self.own, self.folder = own, folder
        self.git, self.store = folder / "git", folder / "store"

    def type(self, clone: Clone, commands: list[str], **instead: str) -> str:
        """Type commands of the README in a clone, with what stands for places and names replaced."""
        typed = "\n".join(commands)
        for word, value in {"/mnt/store": str(self.store), GIT: str(self.git), **instead}.items():
            typed = typed.replace(word, value)
        return clone.run("bash", "-euc", typed)

    def join(self, name: str) -> Clone:
        """Return the clone of a colleague who has typed what the README says."""
        colleague = Clone(self.folder / name)
        clone, pull, _ = readme("Data and models")[1]
        self.type(Clone(self.folder), [clone], **{"cd topics": f"cd {name}", GIT: f"{self.git} {name}"})
        self.type(colleague, [pull])
        return colleague


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, shared_clone: Clone) -> Team:
    """A repository that has been run, committed and pushed, to git's remote and to DVC's."""
    folder = tmp_path_factory.mktemp("team")
    shutil.copytree(shared_clone.folder, folder / "own", symlinks=True)
    team = Team(Clone(folder / "own"), folder)
    shutil.rmtree(folder / "own/.dvc/tmp")  # locks and the queue of the other
    team.own.restore()
    subprocess.run(["git", "init", "-q", "--bare", team.git], check=True, env=ENVIRONMENT)
    team.own.run("git", "remote", "set-url", "origin", str(team.git))
    team.type(team.own, readme("Data and models")[0])
    return team


@pytest.fixture(scope="module")
def grid(team: Team) -> Iterator[list[str]]:
    """The names of three experiments run by two workers: one of the README's grid, and two that train nothing."""
    queue, start = readme("A grid, on two workers")[0]
    assert start.startswith("dvc queue start -j 2")
    team.type(team.own, [queue])
    rows = shown(team.own)
    assert {values(row) for row in rows if row["State"] == "Queued"} == set(
        itertools.product((1e-5, 1e-4), (0.0, 0.1), ("sqrt", "balanced"))
    )
    left_out = [row["rev"] for row in rows if row["State"] == "Queued" and values(row) != CHOSEN]
    team.own.run("dvc", "queue", "remove", *left_out)
    for cheap in ("evaluate.tfidf.C=2.0", "evaluate.tfidf.ngrams=1"):
        team.own.run("dvc", "exp", "run", "--queue", "-S", cheap)
    with queue_workers(team.own) as work_off:
        together = work_off(2)
    names = [row["Experiment"] for row in shown(team.own) if row["Experiment"]]
    assert len(names) == 3
    assert len(together) >= 2
    yield names
    team.own.run("dvc", "exp", "remove", "-q", "--all-commits")


def values(row: dict[str, str]) -> tuple[float, float, str]:
    return float(row["train.lr"]), float(row["train.label_smoothing"]), row["train.class_weights"]


def shown(clone: Clone) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(clone.run("dvc", "exp", "show", "--csv"))))


def test_a_fresh_clone_pulls_and_runs_nothing(team: Team) -> None:
    colleague = team.join("fresh")
    assert (colleague.folder / "models/classifier/model.safetensors").is_file()
    assert not (colleague.folder / ".cache").exists()
    assert readme("Data and models")[1][-1].startswith("dvc repro")
    assert colleague.repro() == []
    assert colleague.run("git", "status", "--porcelain") == ""


def test_a_grid_over_three_params_is_run_by_two_workers(team: Team, grid: list[str]) -> None:
    rows = [row for row in shown(team.own) if row["Experiment"] in grid]
    assert sorted(map(values, rows)) == sorted([CHOSEN, (0.01, 0.0, "sqrt"), (0.01, 0.0, "sqrt")])
    assert all(0 <= float(row["test.macro_f1"]) <= 1 for row in rows)
    assert team.own.run("git", "status", "--porcelain") == ""


def test_three_experiments_are_compared_in_a_table_and_in_a_page(team: Team, grid: list[str]) -> None:
    table, diff = readme("A grid, on two workers")[1]
    said = team.type(team.own, [table])
    assert all(name in said for name in grid)
    assert "label_smoothing" in said
    team.type(team.own, [diff], EXP1=grid[0], EXP2=grid[1], EXP3=grid[2])
    page = (team.own.folder / "dvc_plots/index.html").read_text(encoding="utf-8")
    assert all(f'"rev": "{name}"' in page for name in grid)
    for title in ("Confusion on the test set", "F1 of each class", "loss"):
        assert title in page


def test_a_colleague_takes_over_an_experiment(team: Team, grid: list[str]) -> None:
    push, pull = readme("Experiments")
    name = next(row["Experiment"] for row in shown(team.own) if row["Experiment"] and values(row) == CHOSEN)
    team.type(team.own, push, NAME=name)
    colleague = team.join("colleague")
    assert name in team.type(colleague, pull, NAME=name)
    assert load(colleague.folder / "params.yaml")["train"]["label_smoothing"] == 0.1
    (row,) = (row for row in shown(team.own) if row["Experiment"] == name)
    loss = json.loads((colleague.folder / "metrics/train/metrics.json").read_text())["train"]["loss"]
    assert loss == pytest.approx(float(row["train.loss"]))
    assert colleague.repro() == []
    changed = colleague.run("git", "status", "--porcelain").split()
    assert {"params.yaml", "dvc.lock", "metrics/train.json"} <= set(changed)
