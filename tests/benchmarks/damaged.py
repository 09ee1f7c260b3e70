"""A campaign against `extract`: documents damaged in every way we know, made from real ones.

    python -m tests.benchmarks.damaged FOLDER_OF_PDFS --files 500 --seed 0 --engine layout

The corpus lies in a temporary folder that goes afterwards: `--files` PDFs of FOLDER_OF_PDFS damaged at random, and
beside them every file of tests.benchmarks.damage and tests.benchmarks.odd_files. The stage runs twice in it, as a
process of its own. Printed are the statuses by kind of damage, seconds and peak memory, and every promise that was
not kept; the exit code is 1 if any. Memory is the sum of what the process and its children hold alone and their part
of what they share (PSS). The limits on a document are the campaign's own, not those of params.yaml. Linux only.
"""

import argparse
import ctypes
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import psutil

from stages.corpus.documents import ENDINGS
from stages.corpus.tables import DOCUMENTS, KEYS
from stages.extract import STATUSES
from tests.benchmarks.damage import DAMAGE, HOSTILE
from tests.benchmarks.odd_files import NAMES, make_special_files
from tests.conftest import ROOT, edit_params, make_corpus

OUTPUTS = {
    DOCUMENTS.as_posix(),
    KEYS.as_posix(),
    "metrics/extract.json",
    "metrics/extract/lengths.csv",
    "metrics/extract/status.csv",
}
# The machine's mood decides on these: a second run may do better.
MOODY = ("timeout", "crashed")
LIMIT_MB = 2048
PR_SET_CHILD_SUBREAPER, PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 36, 24, 1, 2


def make_damaged_corpus(folder: Path, originals: list[Path], files: int, seed: int) -> Path:
    """Fill `folder` with a corpus whose documents lie in one folder for each kind of damage."""
    chance = random.Random(seed)
    documents = make_corpus(folder, {}) / "documents"
    for number in range(files):
        damage, original = DAMAGE[number % len(DAMAGE)], chance.choice(originals)
        target = documents / damage.__name__.replace("_", " ") / f"{number:04} {original.name}"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(damage(original.read_bytes(), chance))
    (documents / "hostile").mkdir()
    for name, make in HOSTILE.items():
        (documents / "hostile" / name).write_bytes(make())
    for number, odd in enumerate(NAMES):
        target = documents / "odd names" / (os.fsdecode(odd) + ".txt")
        target.parent.mkdir(exist_ok=True)
        target.write_text(f"Words of the document with odd name {number}.", encoding="utf-8")
    make_special_files(documents / "special files")
    return folder


def wanted_documents(documents: Path) -> int:
    """Count the files that are documents by their name."""
    return sum(Path(name).suffix.lower() in ENDINGS for _, _, names in os.walk(documents) for name in names)


@dataclass
class Run:
    """One run of the stage: how it ended, what it took, what it left running."""

    code: int
    errors: str
    seconds: float
    peak_mb: float
    zombies: int
    left: list[str]


def become_a_strict_parent() -> None:
    """Let root's children be refused what nobody may read, and orphans of children become children of this process."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for right in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, right, 0, 0, 0)


def run_stage(workspace: Path) -> Run:
    """Run the stage in `workspace` and watch its memory and its processes."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PIPELINE_CACHE": str(workspace / "cache"),
        "TMPDIR": str(workspace / "tmp"),
    }
    start = time.monotonic()
    with (workspace / "errors.txt").open("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "stages.extract"],
            cwd=workspace,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            start_new_session=True,
        )
        peak, zombies = 0.0, 0
        while process.poll() is None:
            relatives = family(process.pid)
            peak = max(peak, sum(held_mb(one) for one in relatives))
            zombies = max(zombies, sum(is_zombie(one) for one in relatives[1:]))
            time.sleep(0.1)
        seconds = time.monotonic() - start
        errors.seek(0)
        said = errors.read()
    return Run(process.returncode, said, seconds, peak, zombies, left_running(workspace, process.pid))


def family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def held_mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss) / (1 << 20)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0


def is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def left_running(workspace: Path, session: int) -> list[str]:
    """Name the processes of the run's session or with `workspace` as current folder, a second after its end."""
    time.sleep(1)
    # Orphans come to this process (it asked for that), which puts an end to those that have died.
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == session or Path(process.cwd()).is_relative_to(workspace):
                found.append(f"{process.name()} ({process.status()})")
    return found


def broken_promises(run: Run, workspace: Path, documents: int, workers: int) -> list[str]:
    """Return what the run should have done and did not."""
    if run.code:
        return [f"exit code {run.code}: {run.errors[-3000:]}"]
    table = pl.read_parquet(workspace / DOCUMENTS)
    made = [path for top in ("data", "metrics") for path in (workspace / top).rglob("*") if path.is_file()]
    files = {path.relative_to(workspace).as_posix() for path in made}
    rest = [path.name for path in (workspace / "tmp").iterdir()]
    kept = [path for path in (workspace / "cache").rglob("*") if path.is_file()]
    strange = [path.name for path in kept if not re.fullmatch(r"[0-9a-f]{2}[0-9a-f]{62}", path.parent.name + path.name)]
    promises = {
        f"{documents} documents, {len(table)} rows": len(table) == documents,
        "two rows have the same document_id": table["document_id"].is_unique().all(),
        "two rows have the same path": table["path"].is_unique().all(),
        "a status that is none": set(table["status"]) <= set(STATUSES),
        "a row that is not ok says no reason": table.filter(pl.col("status") != "ok")["error"].is_not_null().all(),
        "a traceback in the log": "Traceback" not in run.errors,
        f"left running: {run.left}": not run.left,
        f"{run.zombies} zombies at a time": run.zombies <= workers,
        f"left in TMPDIR: {rest}": not rest,
        f"files in data/ and metrics/: {sorted(files ^ OUTPUTS)}": files == OUTPUTS,
        f"strange files in the store: {strange}": not strange,
        f"{len(kept)} files in the store": len(kept) <= documents,
        f"peak memory {run.peak_mb:.0f} MB": run.peak_mb < LIMIT_MB,
    }
    return [broken for broken, kept in promises.items() if not kept]


def changes(seen: list[dict[str, bytes]], tables: list[pl.DataFrame]) -> list[str]:
    """Return how the second run's outputs differ, time-outs and crashes excepted."""
    (first, second), (before, after) = seen, tables
    if not set(MOODY) & set(before["status"]):
        return [name for name in first if first[name] != second[name]]
    calm = before.filter(~pl.col("status").is_in(MOODY)).select("document_id")
    same = before.join(calm, on="document_id", how="semi").equals(after.join(calm, on="document_id", how="semi"))
    return [] if same else ["rows of data/extracted/documents.parquet"]


def outputs(workspace: Path) -> dict[str, bytes]:
    return {name: (workspace / name).read_bytes() for name in OUTPUTS if (workspace / name).is_file()}


def show(table: pl.DataFrame) -> None:
    """Print the statuses by kind of damage, and each hostile or special file by itself."""
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    for path, status in table.select("path", "status").iter_rows():
        by_kind[path.partition("/")[0]][status] += 1
    for kind, counts in sorted(by_kind.items()):
        print(f"{kind:<34}{sum(counts.values()):>4}  " + ", ".join(f"{n} {s}" for s, n in counts.most_common()))
    for path, status, error in table.select("path", "status", "error").iter_rows():
        if path.startswith(("hostile/", "special files/")):
            print(f"  {path:<52}{status:<11}{(error or '')[:90]}")


def campaign(workspace: Path, arguments: argparse.Namespace) -> bool:
    """Make the corpus in `workspace`, run twice, print; return whether every promise was kept."""
    originals = sorted(arguments.pdfs.rglob("*.pdf"))
    shutil.copy(ROOT / "params.yaml", workspace)
    limits = {f"extract.{key}": getattr(arguments, key) for key in ("engine", "max_tokens", "timeout_s", "memory_mb")}
    settings = {**limits, "extract.metadata_columns": [], "corpus": "mine", "runtime.workers": arguments.workers}
    edit_params(workspace / "params.yaml", settings)
    documents = make_damaged_corpus(workspace / "mine", originals, arguments.files, arguments.seed) / "documents"
    wanted = wanted_documents(documents)
    become_a_strict_parent()
    kept, seen, tables = True, [], []
    for which in ("first", "second"):
        (workspace / "tmp").mkdir(exist_ok=True)
        run = run_stage(workspace)
        print(
            f"{which} run: exit code {run.code}, {run.seconds:.0f} s, peak {run.peak_mb:.0f} MB, {run.zombies} zombies",
            flush=True,
        )
        for broken in broken_promises(run, workspace, wanted, arguments.workers):
            print(f"BROKEN: {broken}", flush=True)
            kept = False
        if run.code:
            return False
        seen.append(outputs(workspace))
        tables.append(pl.read_parquet(workspace / DOCUMENTS))
        if which == "first":
            show(tables[0])
    for change in changes(seen, tables):
        print(f"BROKEN: the second run changed {change}")
        kept = False
    return kept


def main() -> None:
    """Read the command line, run the campaign, exit with 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pdfs", type=Path, nargs="?", default=Path("data/sample/documents"))
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("layout", "fast"), default="layout")
    parser.add_argument("--max-tokens", type=int, default=1000)
    parser.add_argument("--timeout-s", type=float, default=20.0)
    parser.add_argument("--memory-mb", type=int, default=768)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="leave the folder, and print it")
    arguments = parser.parse_args()
    workspace = Path(tempfile.mkdtemp(prefix="damaged-"))
    try:
        kept = campaign(workspace, arguments)
    finally:
        if arguments.keep:
            print(workspace)
        else:
            shutil.rmtree(workspace)
    print("every promise kept" if kept else "promises broken")
    sys.exit(not kept)


if __name__ == "__main__":
    main()
