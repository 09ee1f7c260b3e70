"""NeoBERT on a padded batch with a mask: what `stages.neobert` computes without padding, in a form that can be traced.

How many tokens of a batch are real depends on the data, and a traced graph cannot.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from stages.neobert.rotary import rotary_tables


class DenseNeoBERT(nn.Module):
    """The classifier with the weights of `model`, in evaluation mode."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.classifier = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Take ids and mask [batch, width]; return logits [batch, labels]."""
        encoder, config = self.classifier.model, self.classifier.config
        cosine, sine = rotary_tables(torch.arange(input_ids.shape[1], device=input_ids.device), config.head_size)
        cosine, sine = cosine[:, None], sine[:, None]
        real = attention_mask.bool()[:, None, None]
        hidden = encoder.encoder(input_ids)
        for block in encoder.transformer_encoder:
            heads = block.qkv(block.attention_norm(hidden)).unflatten(-1, (config.num_attention_heads, -1))
            query, key, value = heads.chunk(3, dim=-1)
            query, key, value = (
                part.transpose(1, 2) for part in (_rotate(query, cosine, sine), _rotate(key, cosine, sine), value)
            )
            attended = nn.functional.scaled_dot_product_attention(query, key, value, real)
            hidden = hidden + block.wo(attended.transpose(1, 2).flatten(2))
            hidden = hidden + block.ffn(block.ffn_norm(hidden))
        states = encoder.layer_norm(hidden)
        # The first real token, which a batch padded on the left does not begin with.
        start = attention_mask.argmax(dim=1)[:, None, None].expand(-1, 1, config.hidden_size)
        first = states.gather(1, start).squeeze(1)
        return self.classifier.classifier(torch.tanh(self.classifier.dense(first)))


def _rotate(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn the pairs of the last dimension of [batch, width, heads, head_size] as `stages.neobert.rotary` does."""
    first, second = states.unflatten(-1, (-1, 2)).unbind(-1)
    return states * cosine + torch.stack((second, first), dim=-1).flatten(-2) * sine
