"""Annotating by a language model: pace, faults, kills, memory, money and seeding, against the tests' local server.

    python -m tests.benchmarks.annotation                   # all: about ten minutes on two cores
    python -m tests.benchmarks.annotation known kill cap    # some

Each measurement runs `python -m stages.annotate` (the last one `dvc`, with the environment active) in temporary
folders and prints what the server counted, beside the goal:

    known    2,000 documents, 100 requests a second allowed, 0.2 s an answer: time against 2,000 / 100 + 0.2 s
    unknown  the same, where the limit is not given
    faults   2,000 documents, 20 % of the requests go wrong: every document gets its label
    kill     kill -9 five times: only what was on its way is asked again, and the annotations are the same bytes
    memory   the peak at 20,000 documents of 300 words against that at 1,000
    two      two processes at once ask nothing twice
    cap      the server's bill of a run never passes runtime.max_cost_usd, and runs in a row come to an end
    seed     a clone without a store, one document more: one request; queued experiments: none
"""

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from stages.corpus.tables import ANNOTATIONS, COLUMNS, DOCUMENTS, RESPONSES, read_table, write_table
from tests.chat_server import ChatServer, Stats
from tests.conftest import ROOT, edit_params, make_corpus

METRICS = Path("metrics/annotate.json")
NAMES = ["energy", "medicine", "transport", "law", "music"]
CONCURRENCY = 32
FAULTS = ["429", "500", "503", "drop", "drop_half", "slow", "malformed", "html", "empty_choices"]
FAULTS += ["invalid_json", "wrong_enum", "prose", "duplicate"]
RUNTIME = {"runtime.concurrency": CONCURRENCY, "runtime.max_cost_usd": 1000.0}


def text_of(number: int, words: int) -> str:
    """Return a document that names its label."""
    draw = random.Random(number)
    filler = " ".join(f"{draw.choice(NAMES)}{draw.randrange(10_000)}" for _ in range(words))
    return f"Report {number}. {filler} label: {NAMES[number % len(NAMES)]}"


def documents(count: int, words: int) -> pl.DataFrame:
    """Return the documents table."""
    frame = pl.DataFrame(
        {
            "document_id": [f"d{number:05}" for number in range(count)],
            "text": [text_of(number, words) for number in range(count)],
            "status": "ok",
        }
    )
    absent = {name: kind for name, kind in COLUMNS[DOCUMENTS.name].items() if name not in frame.columns}
    return frame.with_columns(pl.lit(None, kind).alias(name) for name, kind in absent.items())


class Workspace:
    """A folder in which the stage runs: params, prompts, a corpus, extracted documents, a store of its own."""

    def __init__(self, folder: Path, server: ChatServer, count: int, words: int = 30, **runtime: float) -> None:
        """Make it, with so many documents and these keys of `runtime`."""
        self.folder, self.server, self.count = folder, server, count
        folder.mkdir()
        for name in ("params.yaml", "prompts"):
            subprocess.run(["cp", "-r", ROOT / name, folder], check=True)
        make_corpus(folder / "corpus", {}, categories=[f"{name},All about {name}." for name in NAMES])
        openai = {"provider": "openai", "openai.base_url": server.base_url}
        changes: dict[str, object] = {f"annotate.{key}": value for key, value in openai.items()}
        changes |= {"corpus": "corpus", **RUNTIME} | {f"runtime.{key}": value for key, value in runtime.items()}
        edit_params(folder / "params.yaml", changes)
        write_table(documents(count, words), folder / DOCUMENTS)

    def start(self) -> subprocess.Popen[str]:
        """Start the stage."""
        own = {
            "PYTHONPATH": str(ROOT),
            "PIPELINE_CACHE": str(self.folder / ".cache"),
            "OPENAI_API_KEY": self.server.api_key or "",
        }
        command = [sys.executable, "-m", "stages.annotate"]
        return subprocess.Popen(command, cwd=self.folder, env=os.environ | own, stderr=subprocess.PIPE, text=True)

    def run(self) -> tuple[str, float]:
        """Run the stage to its end; return its last line and the seconds it took."""
        start = time.perf_counter()
        _, said = self.start().communicate()
        return (said.strip().splitlines() or [""])[-1], time.perf_counter() - start

    def right(self) -> int:
        """Return how many documents have the label they name."""
        table = read_table(self.folder / ANNOTATIONS)
        return sum(
            category == NAMES[int(document[1:]) % len(NAMES)]
            for document, category in table.select("document_id", "category").iter_rows()
        )

    def bytes_of(self, *paths: Path) -> list[bytes]:
        """Return the contents of outputs."""
        return [(self.folder / path).read_bytes() for path in paths]

    def stored(self) -> int:
        """Return the number of answers in the store."""
        return sum(not file.name.startswith(".") for file in self.folder.glob(".cache/answers/??/*"))


@contextmanager
def temporary() -> Iterator[Path]:
    """Make a folder that goes when done with."""
    with tempfile.TemporaryDirectory(prefix="annotation-") as folder:
        yield Path(folder)


def pace(stats: Stats, latency: float) -> str:
    """Say how long requests came, against the fastest possible, and how many were too many."""
    took, ideal = stats.arrivals[-1] - stats.arrivals[0] + latency, len(stats.answered) / 100 + latency
    return (
        f"{took:.2f} s, {took / ideal:.3f} times the ideal {ideal:.1f} s; busiest second {stats.busiest_second}, "
        f"{len(stats.refused)} of {len(stats.arrivals)} requests refused"
    )


def known(limit: float = 6000.0, goal: float = 1.15) -> str:
    """Measure the pace under a limit."""
    with temporary() as folder, ChatServer(latency_s=0.2, requests_per_second=100) as server:
        work = Workspace(folder / "work", server, 2000, requests_per_minute=limit)
        work.run()
        return f"{pace(server.stats(), 0.2)}; {work.right()} right (goals: {goal} times, busiest second 102)"


def unknown() -> str:
    """Measure the pace under a limit that is not given."""
    return known(limit=0.0, goal=1.5)


def faults() -> str:
    """Measure how long it takes with faults."""
    shares = {name: 0.2 / len(FAULTS) for name in FAULTS}
    with temporary() as folder, ChatServer(latency_s=0.2, faults=shares) as server:
        work = Workspace(folder / "work", server, 2000)
        said, seconds = work.run()
        stats = server.stats()
        return f"{work.right()} of 2000 right in {seconds:.1f} s; {sum(stats.faults.values())} faults; {said}"


def kill() -> str:
    """Count what is asked twice because of kills."""
    with temporary() as folder, ChatServer(latency_s=0.2) as server:
        whole = Workspace(folder / "whole", server, 2000)
        whole.run()
        server.reset()
        work, lost, draw = Workspace(folder / "work", server, 2000), list[int](), random.Random(0)
        for _ in range(5):
            seen = len(server.stats().asked)
            enough = seen + draw.randrange(1, 350)
            process = work.start()
            while len(server.stats().asked) < enough:
                time.sleep(draw.uniform(0, 0.05))
            process.kill()
            process.communicate()
            time.sleep(1)
            lost.append(len(server.stats().asked) - work.stored())
        work.run()
        stats, before = server.stats(), work.bytes_of(ANNOTATIONS, RESPONSES, METRICS)
        again = sum(times > 1 for times in stats.asked.values())
        same = work.bytes_of(ANNOTATIONS, METRICS) == whole.bytes_of(ANNOTATIONS, METRICS)
        work.run()  # answers have a time in them, so that those of two runs differ, but not those of the store
        same = same and work.bytes_of(ANNOTATIONS, RESPONSES, METRICS) == before
        return (
            f"{again} of {len(stats.asked)} bodies asked again, one {max(stats.asked.values())} times; on their way at "
            f"the kills: {lost} (goal: no more, each at most {CONCURRENCY}); {work.right()} right; same bytes: {same}"
        )


def peak_kb(process: subprocess.Popen[str]) -> int:
    """Return the most memory the process held, in KiB, once it has ended."""
    most = 0
    while process.poll() is None:
        found = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8"))
        most = int(found[1]) if found else most
        time.sleep(0.02)
    process.communicate()
    return most


def memory() -> str:
    """Compare peaks of memory."""
    peaks = []
    for count in (1000, 20_000):
        with temporary() as folder, ChatServer() as server:
            work = Workspace(folder / "work", server, count, 300)
            start = time.perf_counter()
            peaks.append(peak_kb(work.start()) / 1024)
            said = f"{work.right()} right in {time.perf_counter() - start:.0f} s"
    return f"{peaks[0]:.0f} MiB, {peaks[1]:.0f} MiB: {peaks[1] / peaks[0]:.2f} times (goal: 1.3); {said}"


def two() -> str:
    """Count what two processes ask twice."""
    with temporary() as folder, ChatServer(latency_s=0.2) as server:
        work = Workspace(folder / "work", server, 1000)
        processes = [work.start(), work.start()]
        for process in processes:
            process.communicate()
        codes = [process.returncode for process in processes]
        again = sum(times > 1 for times in server.stats().asked.values())
        return f"{again} of {len(server.stats().asked)} asked twice (goal: 0); exit codes {codes}; {work.right()} right"


def cap() -> str:
    """Compare the server's bills with the cap of a run."""
    prices = {"price_input_usd": 2.0, "price_output_usd": 8.0, "max_cost_usd": 0.5}
    with temporary() as folder, ChatServer(latency_s=0.05) as server:
        work, bills, before = Workspace(folder / "work", server, 2000, 30, **prices), list[float](), 0.0
        while not (work.folder / ANNOTATIONS).exists() and len(bills) < 20:
            work.run()
            stats = server.stats()
            bill = (stats.prompt_tokens * 2.0 + stats.completion_tokens * 8.0) / 1e6
            bills.append(round(bill - before, 4))
            before = bill
        again = sum(times > 1 for times in stats.asked.values())
        return f"bills {bills} (goal: each at most {prices['max_cost_usd']}), {again} asked twice; {work.right()} right"


def seed() -> str:
    """Count requests of a clone without a store, and of queued experiments."""
    said = []
    with temporary() as folder, ChatServer() as server:
        clone = folder / "clone"
        environment = os.environ | {"OPENAI_API_KEY": server.api_key or ""}
        environment.pop("PIPELINE_CACHE", None)

        def do(*command: str) -> None:
            subprocess.run(command, cwd=clone, env=environment, check=True, stdout=subprocess.DEVNULL)

        def dvc(*command: str) -> int:
            server.reset()
            do(sys.executable, "-m", "dvc", *command)
            return len(server.stats().arrivals)

        subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
        texts = {f"d{number:02}.md": text_of(number, 30) for number in range(100)}
        make_corpus(clone / "data/mine", texts, categories=[f"{name},All about {name}." for name in NAMES])
        openai = {"annotate.provider": "openai", "annotate.openai.base_url": server.base_url}
        edit_params(clone / "params.yaml", {"corpus": "data/mine", "train.epochs": 1, **RUNTIME, **openai})
        said.append(f"{dvc('repro', '-q')} asked of 100 documents")
        subprocess.run(["rm", "-r", clone / ".cache"], check=True)
        (clone / "data/mine/documents/new.md").write_text(text_of(100, 30), encoding="utf-8")
        said.append(f"without the store and with one document more {dvc('repro', '-q', 'annotate')} (goal: 1)")
        dvc("repro", "-q")
        do("git", "add", "-A")
        do("git", "-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qm", "corpus")
        for change in ("train.lr=1e-4", "annotate.max_failed=0.06"):
            dvc("exp", "run", "-q", "--queue", "-S", change)
            said.append(f"queued {change} {dvc('exp', 'run', '-q', '--run-all')} (goal: 0)")
        listed = [sys.executable, "-m", "dvc", "exp", "list", "--name-only"]
        done = subprocess.run(listed, cwd=clone, env=environment, check=True, capture_output=True, text=True)
        said.append(f"experiments that ended well: {len(done.stdout.split())} of 2")
    return "; ".join(said)


MEASUREMENTS = {
    measurement.__name__: measurement for measurement in (known, unknown, faults, kill, memory, two, cap, seed)
}


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurements", nargs="*", metavar="measurement", help=", ".join(MEASUREMENTS))
    chosen = parser.parse_args().measurements or list(MEASUREMENTS)
    if odd := set(chosen) - MEASUREMENTS.keys():
        parser.error(f"no such measurement: {', '.join(sorted(odd))}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in chosen:
        print(f"{name:8} {MEASUREMENTS[name]()}", flush=True)


if __name__ == "__main__":
    main()
