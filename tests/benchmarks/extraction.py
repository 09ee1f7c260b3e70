"""Extraction: its speed beside PyMuPDF4LLM's own, and what a run costs when little or nothing is new.

    python -m tests.benchmarks.extraction speed FOLDER       # all pages of the PDFs in the folder, no OCR, three ways
    python -m tests.benchmarks.extraction again              # 2,000 PDFs: nothing new, one new

Every way is a process of its own, timed from its start to its end.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pymupdf

from stages.corpus.tables import DOCUMENTS, read_table
from tests.conftest import ROOT, edit_params, make_corpus

PROSE = (
    "the study of a method shows that results for patients and students are better with more data than before but "
    "some questions remain open in practice because few teachers and doctors know how to use them at work every day"
)
PLAIN = "[pymupdf4llm.to_markdown(file, use_ocr=False) for file in files]"
BATCH = (
    "done = pymupdf4llm.convert_batch(files, workers={workers}, out_dir='.', options={{'use_ocr': False}})\n"
    "    sys.exit(next((repr(each.error) for each in done if not each.success), 0))"
)


def use(folder: Path, corpus: Path, **extract: object) -> None:
    """Put a params.yaml into `folder` that reads `corpus`."""
    shutil.copy(ROOT / "params.yaml", folder)
    settings = {"metadata_columns": [], **extract}
    changes: dict[str, object] = {f"extract.{key}": value for key, value in settings.items()}
    edit_params(folder / "params.yaml", {"corpus": str(corpus), **changes})


def extract(folder: Path) -> float:
    """Run the stage in `folder`; return its seconds."""
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PIPELINE_CACHE": str(folder / ".cache")}
    command = [sys.executable, "-m", "stages.extract"]
    subprocess.run(command, check=True, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def convert(way: str, files: list[str]) -> float:
    """Run a line of Python over `files`; return the seconds of its process."""
    program = f"import sys, pymupdf4llm\nif __name__ == '__main__':\n    files = sys.argv[1:]\n    {way}"
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, "-c", program, *files], check=True, cwd=scratch, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def measure_speed(arguments: argparse.Namespace) -> None:
    """Print pages per second of the stage, of one plain process, and of PyMuPDF4LLM's own workers."""
    files = [str(file.resolve()) for file in sorted(arguments.folder.glob("*.pdf"))]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        corpus = make_corpus(folder / "corpus", {})
        for file in files:
            shutil.copy(file, corpus / "documents")
        use(folder, corpus, engine="layout", max_tokens=10_000_000)
        times = {"stage": extract(folder)}
        pages = int(read_table(folder / DOCUMENTS)["pages_read"].sum())
    times["one plain process"] = convert(PLAIN, files)
    times[f"convert_batch, {arguments.workers} workers"] = convert(BATCH.format(workers=arguments.workers), files)
    for way, seconds in times.items():
        print(f"{way}: {pages} pages in {seconds:.1f} s, {pages / seconds:.2f} a second; ", end="")
        print(f"the stage is {seconds / times['stage']:.2f} times as fast")


def measure_again(arguments: argparse.Namespace) -> None:
    """Print the seconds of a first run, of one with nothing new, of one with one document more, and of one document."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        corpus = make_corpus(folder / "corpus", {})
        alone = make_corpus(folder / "alone", {})
        for number in range(arguments.documents + 1):
            document = pymupdf.open()
            words = " ".join(random.Random(number).choices(PROSE.split(), k=400))
            document.new_page().insert_textbox((50, 50, 550, 800), words, fontsize=9)
            place = alone if number == arguments.documents else corpus
            document.save(place / f"documents/{number:05}.pdf")
        for way in ("first run", "nothing new", "nothing new, again"):
            use(folder, corpus, engine=arguments.engine)
            print(f"{arguments.documents} documents, {way}: {extract(folder):.2f} s", flush=True)
        shutil.copy(next((alone / "documents").iterdir()), corpus / "documents")
        print(f"one more: {extract(folder):.2f} s")
        use(folder, alone, engine=arguments.engine)
        print(f"one document alone, in the store (start-up): {extract(folder):.2f} s")


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(required=True)
    speed = ways.add_parser("speed")
    speed.add_argument("folder", type=Path)
    speed.add_argument("--workers", type=int, default=2)
    speed.set_defaults(measure=measure_speed)
    again = ways.add_parser("again")
    again.add_argument("--documents", type=int, default=2000)
    again.add_argument("--engine", choices=["layout", "fast"], default="fast")
    again.set_defaults(measure=measure_again)
    arguments = parser.parse_args()
    arguments.measure(arguments)


if __name__ == "__main__":
    main()
