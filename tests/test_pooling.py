"""Mean pooling as a block of plain BERT."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from datasets import ClassLabel
from sentence_transformers.sentence_transformer.modules import Pooling
from torch.nn.functional import layer_norm
from transformers import AutoConfig, AutoModelForSequenceClassification

from stages.backbone.params import ModelParams
from stages.runtime.errors import UserError
from stages.training.model import find_blocks, freeze, load_model
from stages.training.pooling import MEAN_WEIGHT, POOLER_SCALE, resolve_pooling

CLASSES = ClassLabel(names=["bread", "rail"])
MEAN = ModelParams(name="tiny", revision="main", pooling="mean", max_length=32, long_documents="truncate")


@pytest.fixture
def sentence_encoder(tiny_model: Callable[[str], Path], tmp_path: Path) -> Path:
    """A tiny BERT that says, as sentence-transformers models do, that it was trained by the mean."""
    return say_pooling(shutil.copytree(tiny_model("bert"), tmp_path / "encoder"), {"pooling_mode_mean_tokens": True})


def say_pooling(folder: Path, settings: dict[str, object]) -> Path:
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling/config.json").write_text(json.dumps(settings))
    return folder


def test_the_head_sees_the_normalised_mean_of_the_real_tokens(sentence_encoder: Path) -> None:
    model = load_model(sentence_encoder, MEAN, CLASSES, 0.0).eval()
    ids = torch.tensor([[2, 40, 50, 60, 3, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0]])
    with torch.inference_mode():
        states = model.bert(ids, attention_mask=mask, output_hidden_states=True)
    before = states.hidden_states[-2][0, :5]
    mean = layer_norm(before.mean(dim=0) + before[0] / MEAN_WEIGHT, (16,))
    torch.testing.assert_close(states.last_hidden_state[0, 0], mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(states.pooler_output[0], torch.tanh(POOLER_SCALE * mean), atol=1e-4, rtol=1e-4)


def test_the_saved_model_is_plain_bert_and_answers_the_same(sentence_encoder: Path, tmp_path: Path) -> None:
    model = load_model(sentence_encoder, MEAN, CLASSES, 0.0).eval()
    model.save_pretrained(tmp_path / "saved")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
    assert again.config.model_type == "bert"
    ids = torch.tensor([[2, 40, 50, 3]])
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, again(ids).logits)


def test_the_averaging_block_is_frozen_and_not_counted_among_the_trainable(sentence_encoder: Path) -> None:
    model = load_model(sentence_encoder, MEAN, CLASSES, 0.0)
    freeze(model, 1)
    learned = [any(weight.requires_grad for weight in block.parameters()) for block in find_blocks(model)]
    assert learned == [False, True, False]
    with pytest.raises(UserError, match=r"more than the model.s blocks \(1\)"):
        freeze(model, 2)


def test_a_step_of_training_leaves_the_averaging_exact(sentence_encoder: Path) -> None:
    model = load_model(sentence_encoder, MEAN, CLASSES, 0.0)
    optimizer = torch.optim.AdamW((weight for weight in model.parameters() if weight.requires_grad), lr=0.1)
    model(torch.tensor([[2, 40, 3]]), labels=torch.tensor([1])).loss.backward()
    optimizer.step()
    block = find_blocks(model)[-1]
    assert not block.attention.self.query.weight.any()
    assert torch.equal(block.attention.self.value.weight, torch.eye(16) * MEAN_WEIGHT)


def test_auto_follows_what_the_model_was_trained_with(
    sentence_encoder: Path, tiny_model: Callable[[str], Path]
) -> None:
    config = AutoConfig.from_pretrained(sentence_encoder)
    assert resolve_pooling("auto", config, sentence_encoder) == "mean"
    assert resolve_pooling("own", config, sentence_encoder) == "own"
    # As the installed sentence-transformers saves it.
    say_pooling(sentence_encoder, Pooling(16, "mean").get_config_dict())
    assert resolve_pooling("auto", config, sentence_encoder) == "mean"
    say_pooling(sentence_encoder, Pooling(16, "cls").get_config_dict())
    assert resolve_pooling("auto", config, sentence_encoder) == "own"
    plain = tiny_model("bert")
    assert resolve_pooling("auto", AutoConfig.from_pretrained(plain), plain) == "own"


def test_modernbert_uses_its_native_mean(tiny_model: Callable[[str], Path]) -> None:
    model = load_model(tiny_model("modernbert"), MEAN, CLASSES, 0.0)
    assert model.config.classifier_pooling == "mean"
    assert len(find_blocks(model)) == 2


def test_an_architecture_without_a_way_to_the_mean_is_named(tiny_model: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match=r"model\.pooling: mean works with BERT and ModernBERT, not with distilbert"):
        load_model(tiny_model("distilbert"), MEAN, CLASSES, 0.0)
