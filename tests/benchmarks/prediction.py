"""Documents a second of `stages.predict` against transformers' pipeline: the same model, the same .txt files.

    python -m tests.benchmarks.prediction texts.csv --documents 1000 --repeat 3
    python -m tests.benchmarks.prediction data/split/train.parquet

The file has a column `text`; each text becomes a .txt file in a temporary folder, as `stages.extract` cleans it, so
that both read the same. Each way runs in a process of its own, turn by turn: `predict`, and `pipeline` with batch sizes
1 and 16, told to cut at what the model reads. Timed are the whole process, and in it the time from files to answers,
the model loaded; predict's store is empty. Of the repetitions the median counts. The logits of all ways are held
against each other. `in memory` is predict without its reading: the texts are there, and some have been answered before.
`floor` is the time that the model's linear layers and its attention alone would take, each at the speed that it has
here by itself, on all cores, as predict has them do it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

MODEL = Path("models/classifier")
WARM = 16  # texts that are answered before `in memory` is timed
WAYS = ("predict", "in memory", "pipeline-1", "pipeline-16")


def predict(files: list[Path], *, in_memory: bool) -> tuple[np.ndarray, float]:
    """Answer as `stages.predict` does; return logits [files, labels] and the seconds from files to answers.

    Or from texts that are `in_memory` to answers, by a classifier that has answered before.
    """
    from stages.corpus.documents import Source
    from stages.evaluation.params import EvaluateParams
    from stages.extraction.params import ExtractParams
    from stages.inference.classifier import load_classifier
    from stages.params import read_section
    from stages.predict import predict, read_files
    from stages.runtime.settings import read_runtime

    classifier = load_classifier(MODEL, "cpu")
    extract, evaluate = read_section("extract", ExtractParams), read_section("evaluate", EvaluateParams)
    workers = read_runtime().worker_count()

    def done(count: int) -> None:
        pass

    def read() -> Iterator[tuple[str, str]]:
        return read_files([Source(file.stem, file.name, file) for file in files], extract, workers, done)

    texts: list[tuple[str, str]] = []
    if in_memory:
        texts = list(read())
        list(predict(texts[:WARM], classifier, evaluate.batch_tokens, done))
    start = time.perf_counter()
    parts = list(predict(texts or read(), classifier, evaluate.batch_tokens, done))
    seconds = time.perf_counter() - start
    assert [name for names, _ in parts for name in names] == [file.stem for file in files]
    probabilities = np.concatenate([part for _, part in parts])
    return np.log(probabilities) * classifier.temperature, seconds


def pipeline(files: list[Path], batch_size: int) -> tuple[np.ndarray, float]:
    """Answer with transformers' pipeline; return as `predict` does."""
    import torch
    from transformers import pipeline

    ask = pipeline("text-classification", model=str(MODEL), tokenizer=str(MODEL), device="cpu", dtype=torch.float32)
    start = time.perf_counter()
    texts = (file.read_text(encoding="utf-8") for file in files)
    answers = list(ask(texts, batch_size=batch_size, truncation=True, top_k=None, function_to_apply="none"))
    seconds = time.perf_counter() - start
    labels = list(ask.model.config.id2label.values())
    rows = [{row["label"]: row["score"] for row in answer} for answer in answers]
    return np.array([[row[label] for label in labels] for row in rows]), seconds


def write_files(texts: list[str], folder: Path) -> int:
    """Write each text as `stages.extract` cleans it, if its cleaning is then done; return how many are written."""
    from stages.extraction.params import ExtractParams
    from stages.extraction.reading import read
    from stages.extraction.text import compose
    from stages.params import read_section

    params = read_section("extract", ExtractParams)

    def clean(text: str) -> str:
        found = read(text.encode(), ".txt", params)
        return compose(found.title, {}, found.body) if found.status == "ok" else ""

    written = 0
    for place, text in enumerate(texts):
        cleaned = clean(text)
        if cleaned and clean(cleaned) == cleaned:
            (folder / f"{place:06}.txt").write_text(cleaned, encoding="utf-8")
            written += 1
    return written


def speed(operations: float, run: Callable[[], object]) -> float:
    """Return floating-point operations a second of `run`, which does so many `operations`: the best of some rounds."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(40):
            run()
        seconds.append((time.perf_counter() - start) / 40)
    return operations / min(seconds)


def floor(files: list[Path]) -> float:
    """Return the seconds that the model's linear layers and its attention take, each at the speed it has by itself."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from stages.inference.asking import CORE_TOKENS
    from stages.inference.packing import packed

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForSequenceClassification.from_pretrained(MODEL)
    # The block that averages (stages/training/pooling.py) has next to nothing to multiply.
    blocks = [block for block in model.base_model.encoder.layer if block.attention.self.query.weight.any()]
    weights = sum(weight.numel() for block in blocks for weight in block.parameters() if weight.ndim == 2)
    texts = [file.read_text(encoding="utf-8") for file in files]
    lengths = np.array([len(ids) for ids in tokenizer(texts, truncation=True)["input_ids"]], dtype=np.float64)
    size, heads, mean = model.config.hidden_size, model.config.num_attention_heads, round(lengths.mean())
    linear, attention = 2 * weights * lengths.sum(), 4 * len(blocks) * size * (lengths**2).sum()
    rows, batch = torch.randn(2 * CORE_TOKENS, size), max(2 * CORE_TOKENS // mean, 1)
    states = [torch.randn(batch, mean, heads, size // heads).transpose(1, 2) for _ in range(3)]
    with torch.inference_mode(), packed(model, len(rows)):
        query = model.base_model.encoder.layer[0].attention.self.query
        multiplying = speed(2 * rows.numel() * query.out_features, lambda: query(rows))
        attending = speed(4 * batch * mean**2 * size, lambda: torch.nn.functional.scaled_dot_product_attention(*states))
    print(
        f"{mean} tokens a document ({lengths.min():.0f} to {lengths.max():.0f}); GFLOP a document: "
        f"{linear / len(files) / 1e9:.2f} in linear layers, at {multiplying / 1e9:.0f} GFLOP/s, "
        f"{attention / len(files) / 1e9:.2f} in attention, at {attending / 1e9:.0f}"
    )
    return float(linear / multiplying + attention / attending)


def run_one(way: str, folder: Path, result: Path) -> None:
    """Answer one way and leave the logits and the seconds."""
    files = sorted(folder.glob("*.txt"))
    if way.startswith("pipeline"):
        logits, seconds = pipeline(files, int(way.rpartition("-")[2]))
    else:
        logits, seconds = predict(files, in_memory=way == "in memory")
    np.save(result, logits)
    print(json.dumps(seconds))


def main() -> None:
    """Read the command line, run each way in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        run_one(arguments.way, arguments.texts, arguments.result)
        return
    table = pl.read_parquet(arguments.texts) if arguments.texts.suffix == ".parquet" else pl.read_csv(arguments.texts)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "documents"
        folder.mkdir()
        count = write_files(table["text"].head(arguments.documents).to_list(), folder)
        print(f"{count} of {min(len(table), arguments.documents)} texts, on {os.cpu_count()} cores")
        least = floor(sorted(folder.glob("*.txt")))
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for turn in range(arguments.repeat):
            for way in WAYS:
                result, start = Path(scratch) / f"{way}.npy", time.perf_counter()
                done = subprocess.run(
                    [sys.executable, "-m", "tests.benchmarks.prediction", folder, "--way", way, "--result", result],
                    env={**os.environ, "PIPELINE_CACHE": str(Path(scratch) / f"cache-{turn}")},
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                times[way].append((json.loads(done.stdout.splitlines()[-1]), time.perf_counter() - start))
        logits = {way: np.load(Path(scratch) / f"{way}.npy") for way in WAYS}
    # Probabilities fix logits up to a constant a document.
    centred = {way: found - found.mean(axis=1, keepdims=True) for way, found in logits.items()}
    medians = {way: [statistics.median(part) for part in zip(*found, strict=True)] for way, found in times.items()}
    print(f"{'way':<12} {'files to answers':>18} {'whole process':>18} {'predict is':>22} {'logits differ by':>18}")
    for way, (answering, whole) in medians.items():
        own = medians["predict"]
        difference = np.abs(centred[way] - centred["predict"]).max()
        print(
            f"{way:<12} {count / answering:>14.1f} /s {count / whole:>15.1f} /s "
            f"{answering / own[0]:>9.2f} and {whole / own[1]:.2f} times {difference:>16.1e}"
        )
    print(f"{'floor':<12} {count / least:>14.1f} /s")


if __name__ == "__main__":
    main()
