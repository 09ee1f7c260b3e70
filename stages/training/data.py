"""Texts and labels as token ids and class numbers."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from datasets import ClassLabel, Dataset
from transformers import PreTrainedTokenizerBase

from stages.runtime.errors import UserError


@dataclass(frozen=True)
class Truncation:
    """How much of the texts lies beyond `model.max_length`: documents cut, and the share of all tokens."""

    documents: int
    tokens: float


def class_label(train: pl.DataFrame, validation: pl.DataFrame) -> ClassLabel:
    """Return the classes of the training labels, sorted by name.

    Raises:
        UserError: if there are fewer than two, or validation has a class that train lacks.
    """
    names = sorted(set(train["label"]))
    if len(names) < 2:
        raise UserError(f"train: the training set has {len(names)} class: a classifier needs two")
    if unknown := sorted(set(validation["label"]) - set(names)):
        raise UserError(f"train: class {unknown[0]!r} stands in validation but not in train: run split again")
    return ClassLabel(names=names)


def encode(
    frame: pl.DataFrame, classes: ClassLabel, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[Dataset, Truncation]:
    """Tokenise a split, once, cut to `max_length` tokens.

    Returns:
        Rows of `input_ids`, `attention_mask` (both of the text's own length) and `labels`, and what was cut.
    """
    table = Dataset.from_polars(frame.select("text", labels="label")).cast_column("labels", classes)

    def tokenize(batch: dict[str, list[str]]) -> dict[str, list[object]]:
        full = tokenizer(batch["text"], truncation=False, verbose=False)["input_ids"]
        return {
            **tokenizer(batch["text"], truncation=True, max_length=max_length),
            "length": [len(ids) for ids in full],
        }

    encoded = table.map(tokenize, batched=True, remove_columns=["text"], keep_in_memory=True, new_fingerprint="tokens")
    lengths = np.array(encoded["length"])
    cut = Truncation(
        documents=int((lengths > max_length).sum()),
        tokens=round(float((lengths - max_length).clip(0).sum() / lengths.sum()), 4),
    )
    keep = ["input_ids", "attention_mask", "labels"]
    return encoded.select_columns(keep), cut
