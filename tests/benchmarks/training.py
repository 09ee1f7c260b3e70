"""Fine-tuning against the published recipe and against a logistic regression, on labelled texts in a CSV file.

    python -m tests.benchmarks.training texts.csv --seeds 10 --unpadded               # the final figure
    python -m tests.benchmarks.training texts.csv --published 1 --recipe              # time against the published
    python -m tests.benchmarks.training texts.csv --whole                             # all blocks: time of an epoch

The file has the columns `text` and `label`. Texts that occur with several labels are left out. Every third line (0, 3,
6 ...) is for the final figure alone; of the others --train texts are for training, the rest for validation. Settings
are chosen by the others alone (training_choices.py). --published runs so many epochs of the published recipe's 20 (all
20: its scores, too), --unpadded all of them without its needless arithmetic (published.py). --recipe trains with that
recipe's settings, but as the stage does: frozen blocks run once, therefore without dropout. --whole fine-tunes all
blocks for one epoch: as the stage does, from texts to the saved model, and as a plain Trainer does with batches padded
to their own longest text, its training alone. --keep keeps each seed's answers in a folder, so that a run that was cut
short goes on where it was: take another folder for other texts, settings or code. Logistic regressions (C 1 and C 10,
balanced classes) read the sentence embeddings of the bundled model (512 tokens). Differences are paired, with 95 %
bootstrap intervals (tests/benchmarks/paired.py).
"""

import argparse
import contextlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from stages.backbone.resolve import locate
from stages.files import Metrics, write_json
from stages.inference.classifier import load_classifier
from stages.params import Params, load
from stages.runtime.checker import Experiment, check
from stages.train import save, train
from tests.benchmarks import published
from tests.benchmarks.paired import difference, mean_difference
from tests.benchmarks.published import Frames

RECIPE = {
    "lr": 5e-4,
    "epochs": published.EPOCHS,
    "batch_size": 16,
    "trainable_layers": published.LEARNING_BLOCKS,
    "head_start": "random",
    "class_weights": "none",
    "warmup": 0.0,
    "weight_decay": 0.0,
    "label_smoothing": 0.1,
    "best_by": "weighted_f1",
}


def read_texts(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the texts for the final figure and all others: `document_id`, `text`, `label`."""
    lines = pl.read_csv(path, infer_schema=False).with_row_index("line")
    lines = lines.filter(pl.col("label").n_unique().over("text") == 1)
    lines = lines.select("line", "text", "label", group="text", document_id=pl.col("line").cast(pl.String).str.zfill(6))
    return lines.filter(pl.col("line") % 3 == 0), lines.filter(pl.col("line") % 3 != 0)


def with_changes(content: Params, changes: Sequence[str]) -> Params:
    """Return params.yaml's content with changes: `key=value` to its `train` section, `model.key=value` to `model`."""
    changed = {**content, "train": dict(content["train"]), "model": dict(content["model"])}
    for change in changes:
        key, _, value = change.partition("=")
        section, _, name = key.rpartition(".")
        place = changed[section or "train"]
        place[name] = type(place[name])(value)
    return changed


def add_changes(parser: argparse.ArgumentParser) -> None:
    """Let the command line take changes of params.yaml, as `with_changes` does."""
    parser.add_argument(
        "-S", action="append", default=[], metavar="KEY=VALUE", help="a key of `train` in params.yaml, or model.KEY"
    )


def macro_f1(true: list[str], given: list[str]) -> float:
    """Return macro F1."""
    return float(f1_score(true, given, average="macro"))


def fine_tune(
    frames: Frames, params: Experiment, seed: int, asked: Sequence[str] = ("train", "test")
) -> tuple[dict[str, list[str]], Metrics, float]:
    """Train on `train` and `validation` as the stage does.

    Returns:
        The answers for each frame that is `asked`, the stage's metrics, and the seconds from texts to the saved model.
    """
    start = time.perf_counter()
    settings = params.train.model_copy(update={"seed": seed})
    sides = {side: frames[side] for side in ("train", "validation")}
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        folder = locate(params.model.name, params.model.revision)
        trained = train(sides, folder, Path("checkpoints"), params.model, settings, params.runtime)
        save(trained, Path("classifier"), {})
        seconds = time.perf_counter() - start
        classifier = load_classifier(Path("classifier"), params.runtime.device)
        answers = {
            side: [
                classifier.labels[place]
                for place in classifier.logits(frames[side]["text"].to_list(), params.evaluate.batch_tokens).argmax(1)
            ]
            for side in asked
        }
    return answers, trained.metrics, seconds


def embed(texts: pl.DataFrame, params: Experiment) -> dict[int, np.ndarray]:
    """Return the sentence embedding of each text by its line."""
    encoder = SentenceTransformer(str(locate(params.model.name, params.model.revision)), device="cpu")
    encoder.max_seq_length = 512
    return dict(zip(texts["line"], encoder.encode(texts["text"].to_list()), strict=True))


def regress(frames: Frames, states: Mapping[int, np.ndarray], strength: float) -> list[str]:
    """Return what a logistic regression of that C on frozen sentence embeddings answers for the test texts."""
    train, test = (np.stack([states[line] for line in frames[side]["line"]]) for side in ("train", "test"))
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=5000)
    answers: list[str] = model.fit(train, frames["train"]["label"].to_list()).predict(test).tolist()
    return answers


@dataclass(frozen=True)
class Run:
    """What one way to train has come to: its answers for the test texts, and a line that describes it."""

    answers: list[str]
    line: str


def learned(frames: Frames, answers: Mapping[str, list[str]]) -> str:
    """Return macro F1 on what a model was trained on, in words."""
    return f"train {macro_f1(frames['train']['label'].to_list(), answers['train']):.4f}"


def run_stage(frames: Frames, params: Experiment, seed: int) -> Run:
    """Train as the stage does."""
    answers, metrics, seconds = fine_tune(frames, params, seed)
    return Run(answers["test"], f"{seconds:.0f} s, {learned(frames, answers)}, best epoch {metrics['best_epoch']}")


def run_published(frames: Frames, params: Experiment, seed: int, epochs: int) -> Run:
    """Train as it was published, for some of its epochs."""
    answers, seconds = published.run_trainer(frames, params, epochs, seed, published=True)
    whole = seconds * published.EPOCHS / epochs
    return Run(
        answers["test"], f"{whole:.0f} s for {published.EPOCHS} epochs; after {epochs} {learned(frames, answers)}"
    )


def run_unpadded(frames: Frames, params: Experiment, seed: int) -> Run:
    """Train as it was published, without arithmetic that changes nothing."""
    answers, seconds = published.run_unpadded(frames, params, published.EPOCHS, seed)
    return Run(answers["test"], f"{seconds:.0f} s, {learned(frames, answers)}")


def keep(folder: Path | None, name: str, run: Callable[[], Run]) -> Run:
    """Return the run of that name in `folder`; where it is not there yet, make and keep it."""
    if folder is None:
        return run()
    if not (file := folder / f"{name}.json").is_file():
        write_json(file, asdict(run()))
    return Run(**json.loads(file.read_text(encoding="utf-8")))


def compare(final: pl.DataFrame, texts: pl.DataFrame, params: Experiment, arguments: argparse.Namespace) -> None:
    """Print each seed's stage, regressions and published recipe on the final lines, and the differences so far."""
    tables = []
    recipe = params.model_copy(
        update={
            "train": params.train.model_copy(update=RECIPE),
            "model": params.model.model_copy(update={"pooling": "own"}),
        }
    )
    states = embed(pl.concat([texts, final]), params)
    true = final["label"].to_list()
    ways: dict[str, Callable[[Frames, int], Run]] = {
        "regression_C1": lambda frames, _: Run(regress(frames, states, 1), ""),
        "regression_C10": lambda frames, _: Run(regress(frames, states, 10), ""),
        "stage": lambda frames, seed: run_stage(frames, params, seed),
    }
    if arguments.recipe:
        ways["recipe"] = lambda frames, seed: run_stage(frames, recipe, seed)
    if arguments.unpadded:
        ways["unpadded"] = lambda frames, seed: run_unpadded(frames, params, seed)
    if arguments.published:
        ways["published"] = lambda frames, seed: run_published(frames, params, seed, arguments.published)
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        shuffled = texts.sample(fraction=1.0, shuffle=True, seed=seed)
        frames = {"train": shuffled[: arguments.train], "validation": shuffled[arguments.train :], "test": final}
        runs = {name: keep(arguments.keep, f"{seed}-{name}", partial(way, frames, seed)) for name, way in ways.items()}
        for name, run in runs.items():
            print(f"seed {seed}: {name}: macro F1 {macro_f1(true, run.answers):.4f} {run.line}", flush=True)
        tables.append(
            final.select("document_id", "label", **{name: pl.Series(run.answers) for name, run in runs.items()})
        )
        together, seeds = pl.concat(tables), f"seeds {arguments.first_seed} to {seed}"
        for name in runs:
            if name != "stage":
                print(f"{seeds}: stage - {name}: mean {mean_difference(tables, 'stage', name)}", flush=True)
                print(f"{seeds}: stage - {name}: together {difference(together, 'stage', name)}", flush=True)


def compare_whole(texts: pl.DataFrame, params: Experiment, arguments: argparse.Namespace) -> None:
    """Print the seconds of an epoch in which all blocks learn, of the stage and of a plain Trainer."""
    frames = {"train": texts[: arguments.train], "validation": texts[arguments.train :]}
    changes = {"trainable_layers": -1, "epochs": 1, "batch_size": 16}
    whole = params.model_copy(update={"train": params.train.model_copy(update=changes)})
    _, _, ours = fine_tune(frames, whole, 0, asked=[])
    _, plain = published.run_trainer(frames, params, 1, 0, published=False)
    print(f"all blocks, one epoch: stage {ours:.0f} s, plain Trainer {plain:.0f} s, {plain / ours:.2f} times")


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--train", type=int, default=800)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--recipe", action="store_true")
    parser.add_argument("--unpadded", action="store_true")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    parser.add_argument("--published", type=int, default=0, metavar="EPOCHS")
    parser.add_argument("--whole", action="store_true")
    add_changes(parser)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    os.environ.setdefault("PIPELINE_CACHE", str(Path(".cache").resolve()))
    params = check(with_changes(load(), arguments.S))
    final, texts = read_texts(arguments.texts)
    print(f"{len(texts)} texts to choose by, {len(final)} for the final figure; {' '.join(arguments.S) or 'defaults'}")
    if arguments.whole:
        compare_whole(texts, params, arguments)
    else:
        compare(final, texts, params, arguments)


if __name__ == "__main__":
    main()
