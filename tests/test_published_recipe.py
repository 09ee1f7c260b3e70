"""The published recipe without padding trains as the recipe itself does."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import Trainer
from transformers.trainer_utils import PredictionOutput

from stages.params import load
from stages.runtime.checker import check
from tests.benchmarks import published
from tests.benchmarks.published import attend
from tests.small_training import frame, model_params

LENGTHS = (5, 3)


@pytest.fixture
def states() -> list[Tensor]:
    """Queries, keys and values of two texts, the second padded."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 4, max(LENGTHS), 8, generator=generator) for _ in range(3)]


def real() -> Tensor:
    """Where a token is real: [texts, 1, queries, tokens]."""
    places = torch.arange(max(LENGTHS))
    return (places < torch.tensor(LENGTHS)[:, None])[:, None, None].expand(-1, 1, max(LENGTHS), -1)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_dropout_of_attention_is_torchs_on_average(states: list[Tensor], share: float) -> None:
    torch.manual_seed(0)
    query, key, value = states
    module, scaling = torch.nn.Module(), 8**-0.5
    drawn = torch.stack(
        [attend(module, query, key, value, real(), share, scaling)[0].transpose(1, 2) for _ in range(4000)]
    )
    torchs = torch.stack([scaled_dot_product_attention(query, key, value, real(), share) for _ in range(4000)])
    for place, length in enumerate(LENGTHS):
        ours, theirs = drawn[:, place, :, :length], torchs[:, place, :, :length]
        assert torch.allclose(ours.mean(dim=0), theirs.mean(dim=0), atol=0.1)
        assert torch.allclose(ours.std(dim=0), theirs.std(dim=0), atol=0.1)


def test_texts_do_not_attend_to_padding(states: list[Tensor]) -> None:
    query, key, value = states
    found = []
    for padding in (0.0, 9.0):
        keys, values = (part.index_fill(2, torch.arange(LENGTHS[1], max(LENGTHS)), padding) for part in (key, value))
        torch.manual_seed(0)
        attended, _ = attend(torch.nn.Module(), query, keys, values, real(), dropout=0.1, scaling=1.0)
        found.append(attended[1, : LENGTHS[1]])
    assert torch.equal(*found)


def test_without_dropout_both_ways_train_the_same_model(
    tiny_model: Callable[[str], Path], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, predictions = tiny_model("bert"), []
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    # As they are drawn, all texts look the same to it.
    weights = load_file(folder / "model.safetensors")
    larger = {name: weight * 10 if weight.ndim == 2 else weight for name, weight in weights.items()}
    save_file(larger, folder / "model.safetensors", metadata={"format": "pt"})

    class Recorded(Trainer):
        def predict(self, *data: object) -> PredictionOutput:
            found: PredictionOutput = super().predict(*data)
            predictions.append(found.predictions)
            return found

    for name, value in {
        "DROPOUT": 0.0,
        "LEARNING_BLOCKS": 1,
        "Trainer": Recorded,
        "use_bf16": lambda *_: False,
    }.items():
        monkeypatch.setattr(published, name, value)
    frames = {"train": frame(12), "validation": frame(3, "validation"), "test": frame(3, "test")}
    params = check(load()).model_copy(update={"model": model_params(folder)})
    ours, _ = published.run_unpadded(frames, params, 3, 0)
    theirs, _ = published.run_trainer(frames, params, 3, 0, published=True)
    assert ours == theirs
    for one, other in zip(predictions[:3], predictions[3:], strict=True):
        assert np.abs(one - other).max() < 1e-5
    assert predictions[0].std(axis=0).max() > 1e-3
