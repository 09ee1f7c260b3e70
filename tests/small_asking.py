"""A folder to annotate in with provider openai, as the stages before leave it, and runs of the command there."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stages.annotate import main
from stages.corpus.tables import ANNOTATIONS, COLUMNS, DOCUMENTS, RESPONSES, read_table, write_table
from stages.params import load
from stages.runtime.command import run
from tests.chat_server import ChatServer
from tests.conftest import ROOT, make_corpus

CATEGORIES = ["rail,Trains and tracks.", "bread,Flour and ovens.", "bees,Hives and honey."]
NAMES = [row.partition(",")[0] for row in CATEGORIES]
PARAMS = load(ROOT / "params.yaml")
METRICS = Path("metrics/annotate.json")


def label(place: int) -> str:
    return NAMES[place % len(NAMES)]


def texts(count: int) -> dict[str, str]:
    """Make documents that plant their categories in turn."""
    return {f"d{place:03}": f"Document {place} of many. label: {label(place)}" for place in range(count)}


def documents(of: Mapping[str, str], unusable: tuple[str, ...] = ()) -> pl.DataFrame:
    """Make a documents table; `unusable` ones are damaged."""
    frame = pl.DataFrame({"document_id": list(of), "text": list(of.values())}).with_columns(
        status=pl.when(pl.col("document_id").is_in(unusable)).then(pl.lit("damaged")).otherwise(pl.lit("ok"))
    )
    absent = {name: kind for name, kind in COLUMNS[DOCUMENTS.name].items() if name not in frame.columns}
    return frame.with_columns(pl.lit(None, kind).alias(name) for name, kind in absent.items())


@dataclass(frozen=True)
class Ended:
    """How a run ended, and how many requests reached the server meanwhile."""

    code: int
    said: str  # on stderr, and as a log
    printed: str  # on stdout
    sent: int

    @property
    def error(self) -> str:
        """The one line that says what went wrong."""
        (line,) = [line for line in self.said.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in self.said
        return line.removeprefix("error: ")


class Place:
    """A workspace with a corpus, documents and params that name the server."""

    def __init__(self, folder: Path, server: ChatServer) -> None:
        self.folder = folder
        self.server = server

    def set_up(self, of: Mapping[str, str], categories: list[str] = CATEGORIES, **rows: list[str]) -> None:
        make_corpus(self.folder / "corpus", {}, categories=categories, **rows)
        shutil.copytree(ROOT / "prompts", self.folder / "prompts")
        self.params: dict[str, Any] = {**PARAMS, "corpus": "corpus"}
        self.set("runtime", concurrency=8, request_timeout_s=20.0, price_input_usd=0.0, price_output_usd=0.0)
        self.set("openai", base_url=self.server.base_url, model="gpt-test")
        self.set(provider="openai", max_failed=0.0)
        self.write(of)

    def set(self, section: str = "annotate", **changes: object) -> None:
        """Change params: `set(max_failed=1)`, `set("openai", votes=3)`, `set("runtime", concurrency=1)`."""
        if section == "openai":
            section, changes = "annotate", {"openai": {**self.params["annotate"]["openai"], **changes}}
        self.params = {**self.params, section: {**self.params[section], **changes}}
        # JSON is YAML, and quick to write.
        (self.folder / "params.yaml").write_text(json.dumps(self.params))

    def write(self, of: Mapping[str, str], unusable: tuple[str, ...] = ()) -> None:
        write_table(documents(of, unusable), self.folder / DOCUMENTS)

    def outputs(self) -> dict[str, bytes]:
        return {
            file.relative_to(self.folder).as_posix(): file.read_bytes()
            for top in ("data/annotated", "metrics")
            for file in (self.folder / top).rglob("*")
        }

    def annotations(self) -> dict[str, tuple[str | None, str, str | None]]:
        """Return category, status and error of each document."""
        rows = read_table(self.folder / ANNOTATIONS).select("document_id", "category", "status", "error").iter_rows()
        return {document: (category, status, error) for document, category, status, error in rows}

    def categories(self) -> dict[str, str | None]:
        return {document: row[0] for document, row in self.annotations().items()}

    def responses(self) -> pl.DataFrame:
        return read_table(self.folder / RESPONSES)

    def requests(self) -> int:
        return sum(self.server.stats().asked.values())

    def stored(self) -> list[Path]:
        """Return the files of the store."""
        return sorted(file for file in (self.folder / ".cache/answers").glob("??/*") if len(file.name) == 62)

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """Start the command in a process of its own; it must be waited for."""
        return subprocess.Popen(
            [sys.executable, "-m", "stages.annotate"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_answers(self, count: int, process: subprocess.Popen[str]) -> None:
        """Wait until the store holds so many; fail if the process ends before."""
        deadline = time.monotonic() + 100
        while len(self.stored()) < count:
            assert process.poll() is None, f"ended before it had {count} answers: {process.communicate()[1]}"
            assert time.monotonic() < deadline
            time.sleep(0.005)


class Runner:
    """Runs the command within this process, which has it imported."""

    def __init__(self, place: Place, said: Callable[[], tuple[str, str]], patch: pytest.MonkeyPatch) -> None:
        self.place = place
        self._said = said
        self._patch = patch

    def __call__(self, *arguments: str) -> Ended:
        self._said()
        before = self.place.requests()
        self._patch.setattr(sys, "argv", ["annotate", *arguments])
        code = 0
        try:
            run(main, own_arguments=True)
        except SystemExit as end:
            code = int(end.code or 0)
        printed, said = self._said()
        return Ended(code, said, printed, self.place.requests() - before)


def quick(patch: pytest.MonkeyPatch, attempts: int = 3) -> None:
    """Give up early, and wait next to nothing before a request is sent again."""
    patch.setattr("stages.llm.chat.ATTEMPTS", attempts)
    patch.setattr("stages.llm.chat.FIRST_WAIT", 0.01)
    patch.setattr("stages.llm.throttle.FIRST_RATE", 200.0)
