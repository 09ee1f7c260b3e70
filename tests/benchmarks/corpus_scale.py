"""Time and peak memory of the stages from extract to split on a corpus of many short documents (Linux).

    python -m tests.benchmarks.corpus_scale                                      # 50,000 documents of about 250 words
    python -m tests.benchmarks.corpus_scale --documents 10000 --words 3800       # long ones (5,000 tokens)

Makes the corpus in a temporary folder, with labels for all (`provider: file`), and runs each stage on it as
`python -m stages.X`; all settings but these are those of params.yaml. Words are drawn as often as they occur in the
sample corpus. What is hard for the search for near-duplicates is in it: copies with a few words changed, one large
family of nearly the same text, and families that share a template but are not alike enough to be near-duplicates.

Memory is the sum over the stage's processes of what is theirs (PSS), looked at ten times a second, or the peak of the
stage's own process (VmHWM) where that is more.
"""

import argparse
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from tests.conftest import ROOT, edit_params, make_corpus

CLASSES = [f"class {letter}" for letter in "abcdefgh"]
# Shares of the documents: in pairs of which one is the other changed, copies of one text, families with a template.
PAIRED, COPIES, TEMPLATED = 0.012, 0.06, 0.06
FAMILY = 300
MIB = 1 << 20


class Writer:
    """Draws texts of words as frequent as in the sample corpus."""

    def __init__(self, words: int, seed: int = 0) -> None:
        """Texts are of about so many words."""
        self.random = random.Random(seed)
        sources = sorted((ROOT / "data/sample/sources").glob("*.md"))
        count = Counter(word for file in sources for word in re.findall(r"\w+", file.read_text(encoding="utf-8")))
        self.vocabulary, self.weights = list(count), list(accumulate(count.values()))
        self.words = words

    def draw(self, words: int) -> list[str]:
        """Draw that many words."""
        return self.random.choices(self.vocabulary, cum_weights=self.weights, k=words)

    def fresh(self) -> list[str]:
        """Draw a text."""
        return self.draw(round(self.words * self.random.uniform(0.7, 1.3)))

    def changed(self, text: list[str], words: int) -> list[str]:
        """Return `text` with that many words at random places replaced."""
        copy = list(text)
        for place in self.random.sample(range(len(copy)), words):
            (copy[place],) = self.draw(1)
        return copy

    def texts(self, documents: int) -> Iterator[tuple[int, list[str]]]:
        """Yield texts, each with the number of its family: pairs, copies, families with a template, and the rest."""
        paired, copies, templated = (int(share * documents) for share in (PAIRED, COPIES, TEMPLATED))
        for pair in range(paired // 2):
            text = self.fresh()
            yield pair, text
            yield pair, self.changed(text, self.random.randint(1, max(1, self.words // 12)))
        text = self.fresh()
        for _ in range(copies):
            yield 0, self.changed(text, 2)
        for number in range(templated):
            if number % FAMILY == 0:
                # With 78 % of the words in common, a similarity of 0.64; with 40 %, of 0.25.
                template = self.draw(int(self.words * (0.4 if number // FAMILY % 2 else 0.78)))
            yield number // FAMILY, template + self.draw(self.words - len(template))
        for number in range(documents - paired // 2 * 2 - copies - templated):
            yield number, self.fresh()


def make(folder: Path, documents: int, words: int) -> None:
    """Make the corpus and its params.yaml in `folder`; documents of a family are of one class."""
    texts, labels = {}, []
    for number, (family, text) in enumerate(Writer(words).texts(documents)):
        name = f"{number // 1000:03}/{number:06}"
        texts[f"{name}.txt"] = " ".join(text)
        labels.append(f"{name},{CLASSES[family % len(CLASSES)]}")
    make_corpus(folder / "corpus", texts, labels=labels, categories=[f"{name}," for name in CLASSES])
    shutil.copy(ROOT / "params.yaml", folder)
    edit_params(folder / "params.yaml", {"corpus": "corpus", "annotate.provider": "file"})


def memory_of(process: int) -> tuple[float, float]:
    """Return the peak of a process alone and what it and its descendants have now, in MiB."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
        peak = re.search(r"VmHWM:\s*(\d+)", status)
        own = re.search(r"^Pss:\s*(\d+)", Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8"), re.M)
        tasks = Path(f"/proc/{process}/task").iterdir()
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    below = sum(memory_of(child)[1] for child in children)
    return int(peak[1]) / 1024 if peak else 0, (int(own[1]) / 1024 if own else 0) + below


def processor_seconds() -> float:
    """Return the seconds of a core that all children have used so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(stage: str, folder: Path) -> None:
    """Run a stage in `folder` and print what it took."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PIPELINE_CACHE": str(folder / ".cache")}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        start, used = time.perf_counter(), processor_seconds()
        process = subprocess.Popen(
            [sys.executable, "-m", f"stages.{stage}"], cwd=folder, env=environment, stdout=said, stderr=said
        )
        most = 0.0
        while process.poll() is None:
            most = max(most, *memory_of(process.pid))
            time.sleep(0.1)
        seconds, used = time.perf_counter() - start, processor_seconds() - used
        said.seek(0)
        lines = said.read().strip().splitlines() or [""]
    print(f"{stage:<14} {seconds:7.1f} s, {used:7.1f} s of a core, {most:6.0f} MiB  {lines[-1]}", flush=True)
    if process.returncode:
        sys.exit("\n".join(lines[-20:]))


def main() -> None:
    """Read the command line, make the corpus, run the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--words", type=int, default=250, help="of a document, on average")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="corpus-scale-") as name:
        make(Path(name), arguments.documents, arguments.words)
        for stage in ("extract", "annotate", "merge_classes", "split"):
            run(stage, Path(name))


if __name__ == "__main__":
    main()
