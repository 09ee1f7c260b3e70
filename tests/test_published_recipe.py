"""The published recipe without padding attends as the recipe itself does."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from tests.benchmarks.published import attend

LENGTHS = (5, 3)


@pytest.fixture
def states() -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of two texts, the second padded."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 4, max(LENGTHS), 8, generator=generator) for _ in range(3))
    return query, key, value


def real() -> Tensor:
    """Where a token is real: [texts, 1, queries, tokens]."""
    places = torch.arange(max(LENGTHS))
    return (places < torch.tensor(LENGTHS)[:, None])[:, None, None].expand(-1, 1, max(LENGTHS), -1)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_dropout_of_attention_is_torchs_on_average(states: tuple[Tensor, Tensor, Tensor], share: float) -> None:
    torch.manual_seed(0)
    module, scaling = torch.nn.Module(), 8**-0.5
    drawn = torch.stack(
        [attend(module, *states, real(), dropout=share, scaling=scaling)[0].transpose(1, 2) for _ in range(4000)]
    )
    torchs = torch.stack([scaled_dot_product_attention(*states, real(), dropout_p=share) for _ in range(4000)])
    for place, length in enumerate(LENGTHS):
        ours, theirs = drawn[:, place, :, :length], torchs[:, place, :, :length]
        assert torch.allclose(ours.mean(dim=0), theirs.mean(dim=0), atol=0.1)
        assert torch.allclose(ours.std(dim=0), theirs.std(dim=0), atol=0.1)


def test_texts_do_not_attend_to_padding(states: tuple[Tensor, Tensor, Tensor]) -> None:
    query, key, value = states
    found = []
    for padding in (0.0, 9.0):
        padded = (part.clone() for part in (key, value))
        others = [part.index_fill(2, torch.arange(LENGTHS[1], max(LENGTHS)), padding) for part in padded]
        torch.manual_seed(0)
        attended, _ = attend(torch.nn.Module(), query, *others, real(), dropout=0.1, scaling=1.0)
        found.append(attended[1, : LENGTHS[1]])
    assert torch.equal(*found)
