"""NeoBERT (Le Breton et al. 2025, https://arxiv.org/abs/2502.19587) in the manner of transformers 5.

Class and parameter names are those of the published code, so that checkpoints go both ways. What differs is
how it runs: the blocks see one row of the batch's real tokens, never padding (see `packing`).
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, initialization
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput, MaskedLMOutput, SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from stages.neobert.attention import attend
from stages.neobert.configuration import NeoBERTConfig
from stages.neobert.packing import Packing, find_packing
from stages.neobert.rotary import rotary_tables, rotate


class SwiGLU(nn.Module):
    """The MLP of a block (Shazeer 2020, https://arxiv.org/abs/2002.05202)."""

    def __init__(self, config: NeoBERTConfig) -> None:
        super().__init__()
        self.w12 = nn.Linear(config.hidden_size, 2 * config.swiglu_size, bias=False)
        self.w3 = nn.Linear(config.swiglu_size, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        gate, linear = self.w12(hidden).chunk(2, dim=-1)
        return self.w3(nn.functional.silu(gate) * linear)


class EncoderBlock(GradientCheckpointingLayer):
    """Attention and MLP, each on the RMS-normalised state and added to it."""

    def __init__(self, config: NeoBERTConfig) -> None:
        super().__init__()
        self.config = config
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.wo = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.ffn = SwiGLU(config)
        self.attention_norm = nn.RMSNorm(config.hidden_size, config.norm_eps)
        self.ffn_norm = nn.RMSNorm(config.hidden_size, config.norm_eps)
        self.is_causal = False  # transformers' attention functions ask the module

    def forward(self, hidden: Tensor, tables: tuple[Tensor, Tensor], packing: Packing) -> tuple[Tensor, Tensor | None]:
        """Take and return states [tokens, hidden_size]; return also the attention weights if eager."""
        heads = self.qkv(self.attention_norm(hidden)).unflatten(-1, (self.config.num_attention_heads, 3, -1))
        pairs, value = heads.split((2, 1), dim=2)
        query, key = rotate(pairs, tables).unbind(2)
        attended, weights = attend(query, key, value.squeeze(2), packing, self.config._attn_implementation, self)
        hidden = hidden + self.wo(attended.flatten(1))
        return hidden + self.ffn(self.ffn_norm(hidden)), weights


class NeoBERTPreTrainedModel(PreTrainedModel):
    """What the three models share: configuration, new weights, abilities."""

    config: NeoBERTConfig
    config_class = NeoBERTConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = ["EncoderBlock"]
    _supports_sdpa = True
    _supports_flash_attn = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            bound = self.config.embedding_init_range
            initialization.uniform_(module.weight, -bound, bound)
        elif isinstance(module, nn.Linear):
            bound = self.config.decoder_init_range
            initialization.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                initialization.zeros_(module.bias)
        elif isinstance(module, nn.RMSNorm):
            initialization.ones_(module.weight)


class NeoBERT(NeoBERTPreTrainedModel):
    """The encoder."""

    def __init__(self, config: NeoBERTConfig) -> None:
        super().__init__(config)
        self.encoder = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.transformer_encoder = nn.ModuleList(EncoderBlock(config) for _ in range(config.num_hidden_layers))
        self.layer_norm = nn.RMSNorm(config.hidden_size, config.norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.encoder

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.encoder = value

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> BaseModelOutput:
        """Encode a padded batch.

        Args:
            input_ids: [batch, width] token ids; or
            inputs_embeds: [batch, width, hidden_size] in their place.
            attention_mask: [batch, width], 0 where a token is padding; None: nowhere.
            position_ids: [batch, width] or [1, width]; None: 0, 1, 2 ... along each row.
            token_type_ids: accepted because BERT's tokenizer gives it; NeoBERT knows one type of token.

        Returns:
            `last_hidden_state` [batch, width, hidden_size], zeros where there is padding; if asked for, `hidden_states`
            (embeddings, then after each block) and `attentions` (each [batch, heads, width, width]; eager only).

        Raises:
            ValueError: on both or neither of ids and embeddings, a mask of another shape, or weights without eager.
        """
        tokens = inputs_embeds if input_ids is None else input_ids
        if tokens is None or (input_ids is not None and inputs_embeds is not None):
            raise ValueError("NeoBERT takes either input_ids or inputs_embeds")
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if output_attentions and self.config._attn_implementation != "eager":
            raise ValueError('NeoBERT returns attention weights only with attn_implementation="eager"')
        batch, width = tokens.shape[:2]
        if attention_mask is not None and attention_mask.shape != (batch, width):
            raise ValueError(f"attention_mask is {tuple(attention_mask.shape)}; NeoBERT takes {(batch, width)}")

        packing = find_packing(attention_mask, batch, width, tokens.device)
        if (longest := max(packing.lengths)) > self.config.max_length:
            raise ValueError(f"a document of {longest} tokens: NeoBERT reads {self.config.max_length}: truncate it")
        if position_ids is None:
            position_ids = torch.arange(width, device=tokens.device)[None]
        tables = rotary_tables(packing.pack(position_ids.expand(batch, width)), self.config.head_size)
        hidden = packing.pack(tokens) if input_ids is None else self.encoder(packing.pack(tokens))
        states: list[Tensor] = []
        attentions: list[Tensor] = []
        for block in self.transformer_encoder:
            if output_hidden_states:
                states.append(packing.unpack(hidden))
            hidden, weights = block(hidden, tables, packing)
            if output_attentions:
                attentions.append(weights)
        if output_hidden_states:
            states.append(packing.unpack(hidden))
        return BaseModelOutput(
            last_hidden_state=packing.unpack(self.layer_norm(hidden)),
            hidden_states=tuple(states) or None,
            attentions=tuple(attentions) or None,
        )


class NeoBERTLMHead(NeoBERTPreTrainedModel):
    """The encoder with the masked-language-model head it was pretrained with."""

    def __init__(self, config: NeoBERTConfig) -> None:
        super().__init__(config)
        self.model = NeoBERT(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        return self.decoder

    def set_output_embeddings(self, value: nn.Linear) -> None:
        self.decoder = value

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> MaskedLMOutput:
        """Encode as `NeoBERT.forward` and predict tokens.

        Args:
            labels: [batch, width] token ids, -100 where nothing is to be learned.

        Returns:
            `logits` [batch, width, vocab_size] and, with labels, their mean cross-entropy `loss`.
        """
        encoded = self.model(
            input_ids,
            attention_mask,
            position_ids,
            inputs_embeds,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=True,
        )
        logits = self.decoder(encoded.last_hidden_state)
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
        return MaskedLMOutput(
            loss=loss, logits=logits, hidden_states=encoded.hidden_states, attentions=encoded.attentions
        )


class NeoBERTForSequenceClassification(NeoBERTPreTrainedModel):
    """The encoder with a head that reads the first token: dropout, dense, tanh, dropout, classifier."""

    def __init__(self, config: NeoBERTConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = NeoBERT(config)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if module in (self.dense, self.classifier):
            initialization.normal_(module.weight, std=self.config.classifier_init_range)
            initialization.zeros_(module.bias)
        else:
            super()._init_weights(module)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Encode as `NeoBERT.forward` and classify.

        Args:
            labels: [batch] class numbers; or, if `config.problem_type` says so, numbers to predict (regression)
                or [batch, num_labels] zeros and ones (multi-label).

        Returns:
            `logits` [batch, num_labels] and, with labels, `loss`.
        """
        encoded = self.model(
            input_ids,
            attention_mask,
            position_ids,
            inputs_embeds,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=True,
        )
        states = encoded.last_hidden_state
        if attention_mask is None:
            first = states[:, 0]
        else:
            # The first real token, which a batch padded on the left does not begin with.
            start = attention_mask.bool().int().argmax(dim=1)
            first = states[torch.arange(len(states), device=states.device), start]
        logits = self.classifier(self.dropout(torch.tanh(self.dense(self.dropout(first)))))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=encoded.hidden_states, attentions=encoded.attentions
        )
