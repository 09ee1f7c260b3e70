"""The configuration of NeoBERT, with the keys of the published one."""

from typing import ClassVar

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class NeoBERTConfig(PreTrainedConfig):
    """What a NeoBERT checkpoint says about itself (Le Breton et al. 2025, https://arxiv.org/abs/2502.19587).

    Args:
        vocab_size: tokens; the published model has the vocabulary of bert-base-uncased.
        hidden_size: width of a token's state, a multiple of twice `num_attention_heads`.
        intermediate_size: nominal width of the MLP; the SwiGLU that replaces it has 2/3 of it (`swiglu_size`).
        max_length: tokens of the longest document the model was trained to read.
        norm_eps: added to the mean square in RMSNorm.
        embedding_init_range: new embeddings are uniform within plus or minus this.
        decoder_init_range: so are new weights of the blocks and of the language-model head.
        classifier_init_range: standard deviation of new weights of the classification head.
        classifier_dropout: share of the head's inputs that training drops.
    """

    model_type = "neobert"
    attribute_map: ClassVar[dict[str, str]] = {"max_position_embeddings": "max_length"}

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 28
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    # transformers takes an undeclared `max_length` for a setting of text generation and drops it.
    max_length: int = 4096
    norm_eps: float = 1e-5
    pad_token_id: int | None = 0
    embedding_init_range: float = 0.02
    decoder_init_range: float = 0.02
    classifier_init_range: float = 0.02
    classifier_dropout: float | int = 0.1
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: object) -> None:
        # Names the published code. It is never run, and a copy of ours has nowhere to find it.
        kwargs.pop("auto_map", None)
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """Raise ValueError where `hidden_size` cannot be divided into heads of rotated pairs."""
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} is no multiple of 2 x num_attention_heads {self.num_attention_heads}"
            )

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def swiglu_size(self) -> int:
        """Width of the SwiGLU: 2/3 of `intermediate_size`, so that its three matrices cost what two would,
        rounded up to a multiple of 8.
        """
        return (2 * self.intermediate_size // 3 + 7) // 8 * 8
