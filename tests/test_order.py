"""The order of training: batches of like length, shuffled."""

from collections.abc import Callable
from pathlib import Path

import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

from stages.training.order import ShuffledBatches
from stages.training.trainer import FineTuner, make_arguments
from tests.small_training import small_params


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(1, 9))
def test_each_document_comes_once_and_the_longest_in_the_first_batch(lengths: list[int], batch: int) -> None:
    order = list(ShuffledBatches(batch, lengths=lengths))
    assert sorted(order) == list(range(len(lengths)))
    assert max(lengths) in [lengths[place] for place in order[:batch]]


def test_batches_hold_documents_of_like_length_and_come_in_random_order() -> None:
    lengths = list(range(1, 402))
    order = list(ShuffledBatches(8, lengths=lengths, generator=torch.Generator().manual_seed(0)))
    batches = [[lengths[place] for place in order[start : start + 8]] for start in range(0, len(order), 8)]
    assert [len(batch) for batch in batches] == [8] * 50 + [1]
    spans = [max(batch) - min(batch) for batch in batches]
    assert sum(spans) / len(spans) < 80  # of a random order: 310
    means = torch.tensor([sum(batch) / 8 for batch in batches[:50]])
    # By length in each quarter they would nearly all be shorter than the one before.
    assert 15 < (means[1:] < means[:-1]).sum() < 35


def test_the_order_is_another_one_in_each_epoch_and_follows_from_torchs_seed() -> None:
    sampler = ShuffledBatches(4, lengths=[3, 1, 2, 5, 4, 9, 8, 7, 6, 2])
    torch.manual_seed(0)
    epochs = [list(sampler), list(sampler)]
    assert epochs[0] != epochs[1]
    torch.manual_seed(0)
    assert [list(sampler), list(sampler)] == epochs


def test_training_takes_this_order_a_step_of_documents_at_a_time(
    tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    params = small_params(batch_size=2, gradient_accumulation=3)
    documents = Dataset.from_dict({"length": list(range(12))})
    trainer = FineTuner(
        torch.ones(2),
        model=AutoModelForSequenceClassification.from_pretrained(tiny_model("bert")),
        args=make_arguments(params, 12, "train", tmp_path, "cpu", bf16=False),
        train_dataset=documents,
        eval_dataset=documents,
    )
    sampler = trainer.get_train_dataloader().batch_sampler.sampler
    assert isinstance(sampler, ShuffledBatches)
    assert (sampler.batch_size, sampler.lengths) == (6, list(range(12)))
