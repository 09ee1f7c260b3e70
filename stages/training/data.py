"""Texts and labels as token ids and class numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl
import torch
from datasets import ClassLabel, Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from stages.backbone.params import ModelParams
from stages.runtime.errors import UserError
from stages.windows import cut

Collator = Callable[[list[dict[str, Any]]], dict[str, Tensor]]


@dataclass(frozen=True)
class Truncation:
    """How much of the texts the model does not read: documents cut, and the share of all tokens."""

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
    frame: pl.DataFrame, classes: ClassLabel, tokenizer: PreTrainedTokenizerBase, params: ModelParams
) -> tuple[Dataset, Truncation]:
    """Tokenise texts, once, and cut them as `model.long_documents` says.

    Args:
        frame: `text`, `label`.

    Returns:
        Rows of `windows` (token ids), `length` (tokens of all of them) and `labels`, and what was cut off.
    """
    read = list(cut(frame["text"].to_list(), tokenizer, params.max_length, params.long_documents))
    rows = Dataset.from_dict(
        {
            "windows": [text.ids for text in read],
            "length": [sum(map(len, text.ids)) for text in read],
            "labels": classes.str2int(frame["label"].to_list()),
        }
    )
    unread = sum(text.unread for text in read) / sum(text.tokens for text in read)
    return rows, Truncation(documents=sum(text.unread > 0 for text in read), tokens=round(unread, 4))


def collate(batch: list[dict[str, Any]], inputs: Callable[[list[Any]], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Make a batch of rows that hold `windows` and `labels`.

    Args:
        inputs: gives what the model takes for the windows of all documents, one after another.

    Returns:
        `labels` [documents]; `document` [windows], the place of the document that each belongs to; and the inputs.
    """
    return {
        # First, for the Trainer counts the rows of a batch by its first tensor.
        "labels": torch.tensor([row["labels"] for row in batch]),
        "document": torch.tensor([place for place, row in enumerate(batch) for _ in row["windows"]]),
        **inputs([window for row in batch for window in row["windows"]]),
    }
