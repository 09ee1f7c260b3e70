"""Attention within each document of a packed row."""

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from stages.neobert.packing import Packing

# In training on a CPU, SDPA in float32 is sooner done with documents up to this length than in bf16, whose
# gradients cost 15 microseconds a token whatever the length (torch 2.13): 2.5 times as fast at 128 tokens.
SHORT = 256


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
        return _scaled_dot_product_attention(*batches).transpose(1, 2).flatten(0, 1)
    documents = zip(*(part.split(packing.lengths) for part in (query, key, value)), strict=True)
    attended = [
        _scaled_dot_product_attention(*(part.transpose(0, 1)[None] for part in document))
        for document in documents
        if len(document[0])
    ]
    # The empty part is there for a batch without a single token.
    return torch.cat([value[:0], *(document[0].transpose(0, 1) for document in attended)])


def _scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend within documents of one length, [documents, heads, length, head_size]."""
    half = query.device.type == "cpu" and query.dtype.itemsize == 2
    if half and torch.is_grad_enabled() and query.shape[2] <= SHORT:
        with torch.autocast("cpu", enabled=False):
            exact = (part.float() for part in (query, key, value))
            return nn.functional.scaled_dot_product_attention(*exact).to(value.dtype)
    return nn.functional.scaled_dot_product_attention(query, key, value)


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
