"""A training run that takes a second: texts of two classes, small params."""

from pathlib import Path

import polars as pl

from stages.backbone.params import ModelParams
from stages.params import load, validate
from stages.runtime.settings import RuntimeSettings, read_runtime
from stages.training.params import TrainParams

WORDS = {"bread": "flour oven dough crust", "rail": "train track signal station"}


def frame(count: int, side: str = "train") -> pl.DataFrame:
    """Return a split of `count` documents for each class."""
    rows = [
        {
            "document_id": (name := f"{side}-{label}-{place}"),
            "text": f"{words} {side} {place}",
            "label": label,
            "group": name,
        }
        for label, words in WORDS.items()
        for place in range(count)
    ]
    return pl.DataFrame(rows)


FRAMES = {"train": frame(4), "validation": frame(1, "validation")}
SMALL = {
    "epochs": 2,
    "batch_size": 4,
    "trainable_layers": -1,
    "head_start": "random",
    "lr": 0.01,
    "precision": "fp32",
}


def small_params(**changes: object) -> TrainParams:
    """Return the `train` section of the workspace's params.yaml with few epochs and small batches."""
    return validate({**load()["train"], **SMALL, **changes}, TrainParams, at="train")


def model_params(folder: Path) -> ModelParams:
    """Return params that name the model in `folder`."""
    return ModelParams(name=str(folder), revision="main", pooling="auto", max_length=32, long_documents="truncate")


def runtime(**changes: object) -> RuntimeSettings:
    """Return the workspace's runtime settings on a CPU."""
    return read_runtime().model_copy(update={"device": "cpu", **changes})
