"""What a model reads of a text: one window of tokens, or several of a text longer than it can read at once.

Training, evaluation and prediction cut texts here, so that a model is asked in the way it was taught.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

LongDocuments = Literal["truncate", "head_tail", "windows"]

# Neighbouring windows share at least this part of their tokens, so that a passage on a border is whole in one.
OVERLAP = 0.25
# Of a text cut to its two ends, this part is its beginning: 128 of 510 tokens did best in Sun et al. 2019,
# "How to Fine-Tune BERT for Text Classification?" (https://arxiv.org/abs/1905.05583), section 5.3.1.
HEAD = 0.25


@dataclass(frozen=True)
class Windows:
    """A text as a model reads it.

    Args:
        ids: token ids of each window, the model's own marks at both ends included.
        tokens: tokens of the whole text with these marks.
        unread: how many of them stand in no window.
    """

    ids: list[list[int]]
    tokens: int
    unread: int


def cut(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int, how: LongDocuments
) -> Iterator[Windows]:
    """Tokenise texts and cut each into windows of at most `max_length` tokens.

    Args:
        how: what becomes of a longer text: `truncate` reads its beginning, `head_tail` its beginning and its end in one
            window, `windows` all of it in overlapping windows of `max_length` tokens, evenly spread.
    """
    encoded = tokenizer(
        list(texts),
        return_special_tokens_mask=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    for ids, special in zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True):
        if len(ids) <= max_length:
            yield Windows([ids], len(ids), 0)
            continue
        start, end = special.index(0), len(ids) - special[::-1].index(0)
        before, body, after = ids[:start], ids[start:end], ids[end:]
        room = max_length - len(before) - len(after)
        parts = _parts(body, room, how)
        unread = 0 if how == "windows" else len(body) - room
        yield Windows([before + part + after for part in parts], len(ids), unread)


def _parts(body: list[int], room: int, how: LongDocuments) -> list[list[int]]:
    if how == "truncate":
        return [body[:room]]
    if how == "head_tail":
        head = round(HEAD * room)
        return [body[:head] + body[len(body) - room + head :]]
    count = 1 + -(-(len(body) - room) // max(1, round((1 - OVERLAP) * room)))
    return [body[start : start + room] for start in np.linspace(0, len(body) - room, count).round().astype(int)]


def log_mean_exp(logits: Tensor, document: Tensor, documents: int) -> Tensor:
    """Return the logits of documents: the logarithm of the mean, over the windows of each, of the exponentials.

    A passage that tells the class in one of ten windows outweighs nine that say nothing; in the mean of the logits it
    would count a tenth. Pinheiro & Collobert 2015, "From Image-level to Pixel-level Labeling with Convolutional
    Networks" (https://arxiv.org/abs/1411.6228), their Log-Sum-Exp with r = 1. The logits of
    a document's only window stay as they are, bit by bit.

    Args:
        logits: [windows, classes].
        document: [windows] the place of the document that each belongs to, 0 to `documents` - 1, none left out.

    Returns:
        [documents, classes] in float32.
    """
    logits = logits.float()
    place = document[:, None].expand_as(logits)
    # Subtracted, so that no exponential overflows.
    peak = logits.new_full((documents, logits.shape[1]), -torch.inf).scatter_reduce(0, place, logits.detach(), "amax")
    sums = torch.zeros_like(peak).index_add(0, document, (logits - peak[document]).exp())
    return peak + (sums / torch.bincount(document, minlength=documents)[:, None]).log()


def batches(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Group places of `lengths`, shortest first, into batches of at most so many `tokens`, padding included.

    One that is longer than that stands alone.
    """
    found: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        if not found or (len(found[-1]) + 1) * lengths[place] > tokens:
            found.append([])
        found[-1].append(place)
    return found


def pad(windows: Sequence[list[int]], tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    """Return `input_ids` and `attention_mask` [windows, width] of windows padded to the longest of them."""
    return dict(tokenizer.pad({"input_ids": list(windows)}, return_tensors="pt"))
