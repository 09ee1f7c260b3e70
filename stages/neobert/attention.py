"""Rotary positions, and attention within each document of a packed row."""

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from stages.neobert.packing import Packing

THETA = 10_000.0


def rotary_tables(positions: Tensor, head_size: int) -> tuple[Tensor, Tensor]:
    """Return cosine and sine [tokens, head_size / 2], float32, of the rotary embedding (arXiv:2104.09864).

    Computed once a forward pass, for the batch's own positions: a stored table would have to be looked up,
    which takes as long, and could be lost or rounded when a model is loaded, moved or cast.
    """
    exponents = torch.arange(0, head_size, 2, device=positions.device, dtype=torch.float32) / head_size
    angles = positions[:, None].float() * THETA**-exponents
    return angles.cos(), angles.sin()


def rotate(pairs: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each neighbouring pair (2i, 2i + 1) of [tokens, heads, head_size] by its position's angle.

    The result holds all first members, then all second ones. Queries and keys are permuted alike, so that
    their products stay what they are.
    """
    cosine, sine = (table.to(pairs.dtype)[:, None] for table in tables)
    first, second = pairs.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), dim=-1)


def attend(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, implementation: str, module: nn.Module
) -> tuple[Tensor, Tensor | None]:
    """Attend from every token to all tokens of its document.

    Args:
        query, key, value: [tokens, heads, head_size].
        implementation: `sdpa`, `eager` or `flash_attention_2`.

    Returns:
        [tokens, heads, head_size]; and the weights [batch, heads, width, width] with `eager`, else None.
    """
    if implementation == "eager":
        return _eager(query, key, value, packing)
    if implementation == "flash_attention_2":
        return _flash(query, key, value, packing, module), None
    if _has_varlen(query):
        longest = max(packing.lengths)
        return varlen_attn(query, key, value, packing.bounds, packing.bounds, longest, longest), None
    return _by_document(query, key, value, packing), None


def _has_varlen(query: Tensor) -> bool:
    """Say whether torch has a kernel for documents of different lengths (FlashAttention: Ampere and later)."""
    half = query.dtype in (torch.bfloat16, torch.float16)
    return bool(query.is_cuda and half and torch.cuda.get_device_capability(query.device) >= (8, 0))


# Compiled, the lengths would become constants, and each batch would be compiled anew.
@torch.compiler.disable
def _by_document(query: Tensor, key: Tensor, value: Tensor, packing: Packing) -> Tensor:
    if packing.indices is None:
        batches = (part.unflatten(0, (packing.batch, packing.width)).transpose(1, 2) for part in (query, key, value))
        return nn.functional.scaled_dot_product_attention(*batches).transpose(1, 2).flatten(0, 1)
    documents = zip(*(part.split(packing.lengths) for part in (query, key, value)), strict=True)
    attended = [
        nn.functional.scaled_dot_product_attention(*(part.transpose(0, 1)[None] for part in document))
        for document in documents
        if len(document[0])
    ]
    # The empty part is there for a batch without a single token.
    return torch.cat([value[:0], *(document[0].transpose(0, 1) for document in attended)])


def _eager(query: Tensor, key: Tensor, value: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
    padding = packing.unpack(query.new_ones(len(query), dtype=torch.bool)).logical_not()
    query, key, value = (packing.unpack(part).transpose(1, 2) for part in (query, key, value))
    scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
    scores = scores.masked_fill(padding[:, None, None], torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
    return packing.pack((weights @ value).transpose(1, 2)), weights


def _flash(query: Tensor, key: Tensor, value: Tensor, packing: Packing, module: nn.Module) -> Tensor:
    row = (part.transpose(0, 1)[None] for part in (query, key, value))
    longest = max(packing.lengths)
    attended, _ = ALL_ATTENTION_FUNCTIONS["flash_attention_2"](
        module,
        *row,
        attention_mask=None,
        is_causal=False,
        cu_seq_lens_q=packing.bounds,
        cu_seq_lens_k=packing.bounds,
        max_length_q=longest,
        max_length_k=longest,
    )
    return attended[0]
