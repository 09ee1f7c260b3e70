"""Other ways to train, cross-validated against the defaults on the texts that tests/benchmarks/training.py chooses by.

    python -m tests.benchmarks.training_choices texts.csv warmup=0 trainable_layers=2 epochs=6,patience=1 --seeds 2

A way is one or several changes with commas between: of a key of `train`, of model.KEY, or of what params.yaml does not
offer because it was no better here:

    head_lr=10         learning rate of the head (and pooler), in that of the blocks
    layer_decay=0.8    learning rate of a block, in that of the block above (Howard & Ruder 2018, "Universal Language
                       Model Fine-tuning for Text Classification", https://arxiv.org/abs/1801.06146)
    sampling=1         documents are drawn, with repetition, so that classes come up equally often; 0.5 is halfway
    patience=1         training stops when so many epochs in a row were no better than the best

A seed is that of the folds and of the training. Differences are paired, with 95 % bootstrap intervals
(tests/benchmarks/paired.py). --keep keeps the answers in a folder, so that a run that was cut short goes on where it
was: take another folder for other texts, folds or code.
"""

import argparse
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from unittest.mock import patch

import polars as pl
import torch
from datasets import Dataset
from sklearn.metrics import log_loss
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import Sampler, WeightedRandomSampler
from transformers import EarlyStoppingCallback, PreTrainedModel

from stages.backbone.resolve import locate
from stages.params import load
from stages.runtime.checker import check
from stages.train import prepared
from stages.training import fitting
from stages.training.folds import class_names, cross_validate
from stages.training.trainer import FineTuner
from tests.benchmarks.paired import mean_difference
from tests.benchmarks.training import Run, keep, macro_f1, read_texts, with_changes

NOT_OFFERED = {"head_lr": 1.0, "layer_decay": 1.0, "sampling": 0.0, "patience": 0.0}
DEFAULTS = "defaults"
# Share of a fold's documents that its best epoch is chosen by: that of the 917 texts beside the 800 to train on.
VALIDATION = 117 / 917


def rates(names: Iterable[str], head_lr: float, layer_decay: float) -> dict[str, float]:
    """Return for each of a model's weights its learning rate, in that of the topmost block.

    Args:
        names: of the weights that learn: those of blocks have the block's number in them.
    """
    names = list(names)
    blocks = {name: int(found[1]) for name in names if (found := re.search(r"\.(\d+)\.", name))}
    blocks |= dict.fromkeys((name for name in names if "embeddings" in name), min(blocks.values(), default=0) - 1)
    top = max(blocks.values(), default=0)
    return {name: layer_decay ** (top - blocks[name]) if name in blocks else head_lr for name in names}


class Variant(FineTuner):
    """A FineTuner that can do what params.yaml does not offer."""

    def __init__(self, changed: Mapping[str, float], class_weights: Tensor, **options: object) -> None:
        """Take what is changed of NOT_OFFERED, and what a FineTuner takes."""
        super().__init__(class_weights, **options)
        self.changed = {**NOT_OFFERED, **changed}
        if self.changed["patience"]:
            self.add_callback(EarlyStoppingCallback(int(self.changed["patience"])))

    def create_optimizer(self, model: PreTrainedModel | None = None) -> Optimizer:
        """Return the Trainer's optimiser, each weight with a learning rate of its own."""
        optimizer = super().create_optimizer(model)
        names = {weight: name for name, weight in self.model.named_parameters() if weight.requires_grad}
        factors = rates(names.values(), self.changed["head_lr"], self.changed["layer_decay"])
        optimizer.param_groups[:] = [
            {**group, "params": [weight], "lr": group["lr"] * factors[names[weight]]}
            for group in optimizer.param_groups
            for weight in group["params"]
        ]
        return optimizer

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        if not self.changed["sampling"]:
            return super()._get_train_sampler(train_dataset)
        labels = torch.tensor(self.train_dataset["labels"][:])
        weights = torch.bincount(labels).double() ** -self.changed["sampling"]
        return WeightedRandomSampler(weights[labels].tolist(), len(labels))


def cross_validated(texts: pl.DataFrame, way: str, folds: int, seed: int) -> Run:
    """Return the answers for `texts`, in their order, by models that did not see them."""
    start = time.perf_counter()
    changes = [] if way == DEFAULTS else way.split(",")
    ours = {key: float(value) for key, _, value in (change.partition("=") for change in changes) if key in NOT_OFFERED}
    params = check(with_changes(load(), [change for change in changes if change.partition("=")[0] not in ours]))
    settings = params.train.model_copy(update={"seed": seed, "folds": folds})
    folder = locate(params.model.name, params.model.revision)
    frames = {"train": texts, "validation": texts.clear()}
    with (
        tempfile.TemporaryDirectory() as scratch,
        patch.object(fitting, "FineTuner", partial(Variant, ours) if ours else FineTuner),
        prepared(frames, folder, Path(scratch), params.model, settings, params.runtime) as (task, _),
    ):
        found = cross_validate(task, texts, VALIDATION, Path(scratch))
        classes = class_names(task)
    found = texts.select("document_id").join(found, on="document_id", maintain_order="left")
    cross_entropy = log_loss(found["label"].to_list(), found["probabilities"].to_list(), labels=classes)
    seconds = time.perf_counter() - start
    return Run(found["predicted"].to_list(), f"cross-entropy {cross_entropy:.4f}, {seconds:.0f} s")


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("ways", nargs="+", metavar="KEY=VALUE,...")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    os.environ.setdefault("PIPELINE_CACHE", str(Path(".cache").resolve()))
    _, texts = read_texts(arguments.texts)
    tables = [texts.select("document_id", "label") for _ in range(arguments.seeds)]
    for way in (DEFAULTS, *arguments.ways):
        for place, seed in enumerate(range(arguments.first_seed, arguments.first_seed + arguments.seeds)):
            run = keep(arguments.keep, f"{seed}-{way}", partial(cross_validated, texts, way, arguments.folds, seed))
            score = macro_f1(texts["label"].to_list(), run.answers)
            print(f"seed {seed}: {way}: macro F1 {score:.4f}, {run.line}", flush=True)
            tables[place] = tables[place].with_columns(pl.Series(way, run.answers))
        if way != DEFAULTS:
            print(f"{way} - {DEFAULTS}: mean {mean_difference(tables, way, DEFAULTS)}", flush=True)


if __name__ == "__main__":
    main()
