"""Long documents: what is read of them, in training and in prediction alike."""

import logging
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from stages.backbone.params import ModelParams
from stages.inference.classifier import load_classifier
from stages.params import load, validate
from stages.runtime.settings import read_runtime
from stages.train import save, train
from stages.training.params import TrainParams
from stages.windows import HEAD, OVERLAP, LongDocuments, batches, cut, log_mean_exp, pad

CLS, SEP = 2, 3
WAYS: tuple[LongDocuments, ...] = ("truncate", "head_tail", "windows")


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer: Path) -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_tokenizer)
    return loaded


def words(count: int) -> str:
    """A text of so many tokens, of which no two of 26 in a row are the same."""
    return " ".join(chr(ord("a") + place % 26) for place in range(count))


@given(count=st.integers(0, 200), room=st.integers(6, 40), how=st.sampled_from(WAYS))
def test_each_window_is_a_whole_input_of_the_model(
    count: int, room: int, how: LongDocuments, tokenizer: PreTrainedTokenizerBase
) -> None:
    (text,) = cut([words(count)], tokenizer, room + 2, how)
    whole = tokenizer(words(count))["input_ids"]
    assert text.tokens == len(whole) == count + 2
    if count <= room:
        assert (text.ids, text.unread) == ([whole], 0)
        return
    for window in text.ids:
        assert len(window) == room + 2
        assert (window[0], window[-1]) == (CLS, SEP)
    body, read = whole[1:-1], [window[1:-1] for window in text.ids]
    if how == "truncate":
        assert read == [body[:room]]
    if how == "head_tail":
        head = round(HEAD * room)
        assert read == [body[:head] + body[len(body) - (room - head) :]]
    assert text.unread == (0 if how == "windows" else count - room)


@given(count=st.integers(0, 150), room=st.integers(6, 40))
def test_windows_hold_every_token_and_overlap(count: int, room: int, tokenizer: PreTrainedTokenizerBase) -> None:
    different = sorted(word for word in tokenizer.get_vocab() if word.isalpha())[:count]
    (text,) = cut([" ".join(different)], tokenizer, room + 2, "windows")
    body = tokenizer(" ".join(different))["input_ids"][1:-1]
    starts = [body.index(ids[1]) if body else 0 for ids in text.ids]
    assert [ids[1:-1] for ids in text.ids] == [body[start : start + room] for start in starts]
    assert starts[0] == 0
    assert starts[-1] == max(0, len(body) - room)
    assert all(room - (after - before) >= int(OVERLAP * room) for before, after in pairwise(starts))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.floats(1, 1000), st.randoms(use_true_random=False))
def test_windows_are_combined_by_the_log_of_the_mean_of_exponentials(
    counts: list[int], size: float, random: np.random.Generator
) -> None:
    document = [place for place, count in enumerate(counts) for _ in range(count)]
    random.shuffle(document)
    logits, owner = torch.randn(len(document), 3) * size, torch.tensor(document)
    found = log_mean_exp(logits, owner, len(counts))
    for place, count in enumerate(counts):
        own = logits[owner == place]
        if count == 1:
            assert torch.equal(found[place], own[0])
        torch.testing.assert_close(found[place], own.logsumexp(dim=0) - math.log(count))


def test_gradients_of_one_window_are_those_without_combining() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0]))
    combined = torch.nn.functional.cross_entropy(log_mean_exp(logits, torch.arange(4), 4), torch.tensor([0, 1, 2, 0]))
    (plain,), (found,) = (torch.autograd.grad(each, [logits]) for each in (loss, combined))
    assert torch.equal(plain, found)


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 120))
def test_batches_hold_every_window_once_within_the_budget(lengths: list[int], tokens: int) -> None:
    found = batches(lengths, tokens)
    assert sorted(place for batch in found for place in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= tokens


def test_padding_is_masked(tokenizer: PreTrainedTokenizerBase) -> None:
    batch = pad([[2, 9, 3], [2, 3]], tokenizer)
    assert batch["input_ids"].tolist() == [[2, 9, 3], [2, 3, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]


NEUTRAL = "a b c d e f g h i j k l m n o p"


def documents(side: str, count: int) -> pl.DataFrame:
    """Texts of some 100 tokens whose last few alone tell the class."""
    rows = [
        {
            "document_id": f"{side}-{label}-{place}",
            "text": f"{NEUTRAL} {NEUTRAL} {NEUTRAL} {place} {telling}",
            "label": label,
            "group": f"{side}-{label}-{place}",
        }
        for label, telling in (("bread", "y y y y y y"), ("rail", "z z z z z z"))
        for place in range(count)
    ]
    return pl.DataFrame(rows)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("layers", [-1, 1])
def test_a_model_is_asked_as_it_was_taught(
    how: LongDocuments,
    layers: int,
    tiny_model: Callable[[str], Path],
    workspace: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tiny_model("neobert")
    changes = {"name": str(folder), "max_length": 32, "long_documents": how}
    settings = validate({**load()["model"], **changes}, ModelParams, at="model")
    quick = {"epochs": 15, "batch_size": 4, "lr": 0.01, "precision": "fp32", "trainable_layers": layers}
    params = validate({**load()["train"], **quick}, TrainParams, at="train")
    frames = {"train": documents("train", 8), "validation": documents("validation", 4)}
    runtime = read_runtime().model_copy(update={"device": "cpu"})
    trained = train(frames, folder, workspace / "checkpoints", settings, params, runtime)
    save(trained, workspace / "classifier", {})

    classifier = load_classifier(workspace / "classifier", "cpu")
    assert classifier.model.config.long_documents == how
    with caplog.at_level(logging.INFO):
        found = classifier.logits(frames["validation"]["text"].to_list(), 64)
    given = [classifier.labels[place] for place in found.argmax(axis=1)]
    accuracy = np.mean([one == other for one, other in zip(given, frames["validation"]["label"], strict=True)])
    # The same documents, the same answers as when training scored them.
    assert accuracy == trained.metrics["validation"]["accuracy"]
    assert accuracy == (0.5 if how == "truncate" else 1.0)
    assert ("8 of 8 texts are longer than 32 tokens" in caplog.text) == (how != "windows")
    assert trained.metrics["cut_off"]["documents"] == (0 if how == "windows" else 1)
