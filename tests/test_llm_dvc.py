"""Asking a language model in a real DVC repository: answers outlive the store, experiments share it, runs compare."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest
from ruamel.yaml import YAML

from tests.chat_server import ChatServer
from tests.conftest import ROOT
from tests.small_asking import Place, texts
from tests.test_pipeline import ENVIRONMENT

pytestmark = pytest.mark.xdist_group("llm_dvc")  # one server and one repository for all


class Repository(Place):
    """A git and DVC repository with the stage annotate of ours alone; the documents table is in git."""

    def run(self, *command: str) -> str:
        environment = {**ENVIRONMENT, "OPENAI_API_KEY": str(self.server.api_key)}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def commit(self) -> None:
        self.run("git", "add", "-A")
        self.run("git", "add", "-f", "data/extracted")
        self.run("git", "commit", "-q", "-m", "Annotated")


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with ChatServer() as server:
        yield server


@pytest.fixture(scope="module")
def repository(server: ChatServer, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Six documents are annotated and committed."""
    made = Repository(tmp_path_factory.mktemp("repository"), server)
    for name in ("stages", ".dvc/config", ".dvcignore", ".gitignore"):
        source, target = ROOT / name, made.folder / name
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    made.set_up(texts(6))
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    YAML().dump({"stages": {"annotate": stages["annotate"]}}, made.folder / "dvc.yaml")
    made.run("git", "init", "-q")
    made.run("dvc", "repro", "-q")
    made.commit()
    return made


def test_after_dvc_pull_one_new_document_costs_one_request(repository: Repository) -> None:
    """The store of a colleague is empty; the last output is in DVC's cache and, as DVC removes it, no longer here."""
    sent = repository.requests()
    assert sent >= 6
    shutil.rmtree(repository.folder / ".cache")
    shutil.rmtree(repository.folder / "data/annotated")
    repository.write(texts(7))
    assert "Running stage 'annotate'" in repository.run("dvc", "repro")
    assert repository.requests() == sent + 1
    assert len(repository.annotations()) == 7
    repository.commit()


def test_an_experiment_in_a_tree_of_its_own_asks_only_what_is_new_and_keeps_it_for_all(repository: Repository) -> None:
    """It runs below .dvc/tmp/exps, where files that git ignores are absent, as queued ones do."""
    sent, stored, count = repository.requests(), set(repository.stored()), len(repository.annotations())
    lock = (repository.folder / "dvc.lock").read_text()
    said = repository.run("dvc", "exp", "run", "--temp", "-S", "annotate.openai.votes=2", "-n", "twice")
    assert "Running stage 'annotate'" in said
    assert repository.requests() == sent + count
    answers = {file for file in set(repository.stored()) - stored if file.stat().st_size > 100}  # or what was seeded
    assert len(answers) == count
    assert (repository.folder / "dvc.lock").read_text() == lock

    printed = repository.run("python", "-m", "stages.annotate", "--compare", "twice", "HEAD")
    assert printed.splitlines() == [
        f"{count} documents have a category in both (twice: {count}, HEAD: {count})",
        f"the same in {count} (100.0%), Cohen's kappa 1.000",
    ]
