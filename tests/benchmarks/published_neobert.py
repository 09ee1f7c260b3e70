"""NeoBERT computed the way its published code does: the reference for tests and benchmarks.

Padded batch, a boolean mask repeated for each head and query, rotary embedding by complex numbers. It takes the
weights from our model, so that both compute the same function.
"""

import torch
from torch import Tensor, nn

from stages.neobert.modeling import NeoBERT


def encode(model: NeoBERT, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Return the last hidden state [batch, width, hidden_size]; at padding it means nothing."""
    config = model.config
    heads, size = config.num_attention_heads, config.head_size
    batch, width = input_ids.shape
    rates = 1.0 / 10_000.0 ** (torch.arange(0, size, 2, device=input_ids.device).float() / size)
    angles = torch.outer(torch.arange(width, device=input_ids.device).float(), rates)
    turns = torch.polar(torch.ones_like(angles), angles)[None, :, None]
    mask = attention_mask[:, None, None].bool().repeat(1, heads, width, 1)

    def rotate(states: Tensor) -> Tensor:
        pairs = torch.view_as_complex(states.float().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * turns).flatten(3).type_as(states)

    hidden = model.encoder(input_ids)
    for block in model.transformer_encoder:
        query, key, value = block.qkv(block.attention_norm(hidden)).view(batch, width, heads, 3 * size).chunk(3, dim=-1)
        attended = nn.functional.scaled_dot_product_attention(
            rotate(query).transpose(1, 2), rotate(key).transpose(1, 2), value.transpose(1, 2), attn_mask=mask
        )
        hidden = hidden + block.wo(attended.transpose(1, 2).reshape(batch, width, heads * size))
        first, second = block.ffn.w12(block.ffn_norm(hidden)).chunk(2, dim=-1)
        hidden = hidden + block.ffn.w3(nn.functional.silu(first) * second)
    return model.layer_norm(hidden)
