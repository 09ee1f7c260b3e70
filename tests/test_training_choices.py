"""What the benchmark of other ways to train does differently from the stage."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from stages.training.model import freeze
from stages.training.trainer import make_arguments
from tests.benchmarks.training_choices import Variant, rates
from tests.small_training import small_params


def variant(folder: Path, scratch: Path, changed: dict[str, float], rare: int = 2) -> tuple[Variant, PreTrainedModel]:
    """Return a trainer of 40 documents, so many of them of a rare class."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    freeze(model, 1)
    labels = [0] * rare + [1] * (40 - rare)
    trainer = Variant(
        changed,
        torch.ones(2),
        model=model,
        args=make_arguments(small_params(lr=1e-3), 40, "train", scratch, "cpu", bf16=False),
        train_dataset=Dataset.from_dict({"length": [1] * 40, "labels": labels}),
        eval_dataset=Dataset.from_dict({"length": [1], "labels": [0]}),
    )
    return trainer, model


def test_each_block_learns_slower_than_the_one_above_and_the_head_at_its_own_rate() -> None:
    names = ["embeddings.word.weight", "layer.0.bias", "layer.1.bias", "layer.2.bias", "pooler.bias", "head.bias"]
    assert list(rates(names, head_lr=10, layer_decay=0.5).values()) == [0.125, 0.25, 0.5, 1, 10, 10]
    assert set(rates(names, head_lr=1, layer_decay=1).values()) == {1}


def test_the_optimiser_has_these_rates_and_every_weight_once(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    trainer, model = variant(tiny_model("bert"), tmp_path, {"head_lr": 10})
    trainer.create_optimizer_and_scheduler(100)
    found = {weight: group for group in trainer.optimizer.param_groups for weight in group["params"]}
    learns = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert len(trainer.optimizer.param_groups) == len(found) == len(learns)
    for name, weight in learns.items():
        assert found[weight]["initial_lr"] == pytest.approx(1e-3 if ".layer." in name else 1e-2), name
        assert found[weight]["weight_decay"] == (0 if "bias" in name or "LayerNorm" in name else 0.01), name


def test_a_rare_class_is_drawn_as_often_as_the_others(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    trainer, _ = variant(tiny_model("bert"), tmp_path, {"sampling": 1})
    sampler = trainer._get_train_sampler()
    torch.manual_seed(0)
    drawn = [place for _ in range(25) for place in sampler]
    assert len(drawn) == 1000
    assert 450 < sum(place < 2 for place in drawn) < 550  # without it: 50
