"""Rotary positions (Su et al. 2021, https://arxiv.org/abs/2104.09864) of the tokens of a packed row."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

THETA = 10_000.0


def rotary_tables(positions: Tensor, head_size: int) -> tuple[Tensor, Tensor]:
    """Return cosine and sine [tokens, head_size], float32, of the angle of each pair (2i, 2i + 1), pair by pair.

    The sine of a pair's first member is negative: what `rotate` multiplies its neighbour with.
    Computed once a forward pass, for the batch's own positions: a stored table would have to be looked up,
    which takes as long, and could be lost or rounded when a model is loaded, moved or cast.
    """
    exponents = torch.arange(0, head_size, 2, device=positions.device, dtype=torch.float32) / head_size
    angles = positions[:, None].float() * THETA**-exponents
    cosine, sine = angles.cos(), angles.sin()
    return torch.stack((cosine, cosine), dim=-1).flatten(1), torch.stack((-sine, sine), dim=-1).flatten(1)


def rotate(states: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each neighbouring pair of the last dimension of [tokens, ..., head_size] by its position's angle."""
    places = (len(states), *[1] * (states.ndim - 2), states.shape[-1])
    rotated: Tensor = _Rotation.apply(states, *(table.view(places) for table in tables))
    return rotated


class _Rotation(torch.autograd.Function):
    """The gradient of a rotation is the opposite rotation, which saves autograd most of its passes."""

    @staticmethod
    def forward(ctx: FunctionCtx, states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        # Whole rows and whole vectors: products of every second member of strided rows take three times as long.
        states = states.contiguous()
        first, second = states.unflatten(-1, (-1, 2)).unbind(-1)
        neighbours = torch.stack((second, first), dim=-1).flatten(-2)
        return (states * cosine.to(states.dtype)).addcmul_(neighbours, sine.to(states.dtype))

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return _Rotation.apply(gradient, cosine, -sine), None, None
