"""Mean pooling for BERT classifiers, as one more block of plain BERT.

BERT's classification head reads the first token. A sentence encoder such as all-MiniLM was trained by
the mean of all tokens, and says more there. A block whose queries and keys are zero attends to
every token alike; with identities for values and outputs it hands the mean on to the first token, and
with a feed-forward part of zeros changes nothing else. The trained model thus stays a plain
`BertForSequenceClassification`, which loads anywhere without code of ours.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from stages.runtime.errors import UserError

# The mean enters beside the first token's own state (the residual), this many times as strong.
MEAN_WEIGHT = 64.0
# Keeps normalised features in the part of the pooler's tanh that is nearly straight.
POOLER_SCALE = 0.5


def resolve_pooling(wanted: Literal["auto", "own", "mean"], config: PreTrainedConfig, folder: Path) -> str:
    """Return `own` or `mean` for `model.pooling`.

    `auto` means `mean` where the model in `folder` is a sentence-transformers one trained so.

    Raises:
        UserError: if the mean is asked for and the architecture has no way to it.
    """
    able = config.model_type in ("bert", "modernbert")
    if wanted == "mean" and not able:
        raise UserError(f"model.pooling: mean works with BERT and ModernBERT, not with {config.model_type}: set own")
    if wanted != "auto":
        return wanted
    settings = folder / "1_Pooling" / "config.json"
    found = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
    # sentence-transformers has saved it in both forms: the bundled model has the older one.
    trained = found.get("pooling_mode_mean_tokens") or found.get("pooling_mode") == "mean"
    return "mean" if able and trained else "own"


def prepare_config(config: PreTrainedConfig) -> dict[str, object]:
    """Return the config entries that a mean-pooling model of this architecture needs."""
    if config.model_type == "modernbert":
        return {"classifier_pooling": "mean"}
    return {"num_hidden_layers": config.num_hidden_layers + 1}


def become_mean(model: PreTrainedModel) -> None:
    """Make the last block of a BERT classifier average all tokens, and its pooler hand the average on.

    The block is frozen: a gradient through queries and keys of zero is zero anyway.
    """
    if model.config.model_type != "bert":
        return
    block, pooler = model.bert.encoder.layer[-1], model.bert.pooler.dense
    identity = torch.eye(model.config.hidden_size)
    with torch.no_grad():
        for weight in block.parameters():
            weight.zero_()
        block.attention.self.value.weight.copy_(identity * MEAN_WEIGHT)
        block.attention.output.dense.weight.copy_(identity)
        block.attention.output.LayerNorm.weight.fill_(1.0)
        block.output.LayerNorm.weight.fill_(1.0)
        pooler.weight.copy_(identity * POOLER_SCALE)
        pooler.bias.zero_()
    block.requires_grad_(False)


class _FirstToken(nn.Module):
    """What a BERT block gives the first token, without its work for the others."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.averages = not any(weight.any() for weight in block.attention.self.query.parameters())

    def forward(self, hidden: Tensor, attention_mask: Tensor | None = None, *_: object, **__: object) -> Tensor:
        """Take states [batch, width, hidden_size]; return those of the first tokens [batch, 1, hidden_size]."""
        # [batch, 1, queries, width]: true, or 0 in the additive form, where a token is real.
        row = None if attention_mask is None else attention_mask[:, :, :1]
        first, attention = hidden[:, :1], self.block.attention
        attended = self._mean(hidden, row) if self.averages else self._attend(first, hidden, row)
        return self.block.feed_forward_chunk(attention.output(attended, first))

    def _mean(self, hidden: Tensor, row: Tensor | None) -> Tensor:
        value = self.block.attention.self.value
        if row is None:
            return value(hidden.mean(dim=1, keepdim=True))
        real = (row[:, 0] if row.dtype == torch.bool else row[:, 0] == 0).to(hidden.dtype)
        return value(real @ hidden / real.sum(dim=-1, keepdim=True))

    def _attend(self, first: Tensor, hidden: Tensor, row: Tensor | None) -> Tensor:
        own = self.block.attention.self
        query, key, value = (
            states.unflatten(-1, (own.num_attention_heads, -1)).transpose(1, 2)
            for states in (own.query(first), own.key(hidden), own.value(hidden))
        )
        dropout = own.dropout.p if self.training else 0.0
        attended = nn.functional.scaled_dot_product_attention(query, key, value, row, dropout)
        return attended.transpose(1, 2).flatten(2)


@contextmanager
def only_first_token(model: PreTrainedModel) -> Iterator[None]:
    """Spare training the work of BERT's last block for tokens that its head does not read."""
    layers = model.bert.encoder.layer if model.config.model_type == "bert" else []
    if not len(layers):
        yield
        return
    block, layers[-1] = layers[-1], _FirstToken(layers[-1])
    try:
        yield
    finally:
        layers[-1] = block
