"""The encoder with a classification head: loading it, and freezing all but its last blocks."""

import logging
from pathlib import Path

import torch
from datasets import ClassLabel
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

import stages.neobert  # noqa: F401  (makes the Auto classes know it)
from stages.backbone.params import ModelParams
from stages.runtime.errors import UserError
from stages.training.pooling import become_mean, prepare_config, resolve_pooling

log = logging.getLogger(__name__)

# What architectures call the share of attention weights that training drops.
ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout")


def load_tokenizer(folder: Path, name: str, max_length: int) -> PreTrainedTokenizerBase:
    """Load the tokenizer of the model in `folder`, set to cut at `max_length` tokens.

    Raises:
        UserError: if the files are no model of transformers, the tokenizer belongs to another model or cannot pad, or
            the model cannot read that many tokens.
    """
    try:
        config = AutoConfig.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as fault:
        raise UserError(f"model.name {name!r}: cannot be loaded: {str(fault).splitlines()[0]}") from None
    if getattr(config, "vocab_size", None) is None:
        raise UserError(f"model.name {name!r}: a {config.model_type} has no vocabulary: name a text encoder")
    if len(tokenizer) > config.vocab_size:
        raise UserError(
            f"model.name {name!r}: its tokenizer has {len(tokenizer)} tokens, its config.json says "
            f"vocab_size {config.vocab_size}: they belong to different models"
        )
    if tokenizer.pad_token is None:
        raise UserError(f"model.name {name!r}: its tokenizer has no pad_token, so it reads no two texts at once")
    limits = [tokenizer.model_max_length, getattr(config, "max_position_embeddings", None)]
    limit = min(number for number in limits if number)
    if max_length > limit:
        raise UserError(f"model.max_length: {max_length} is more than the {limit} tokens that {name!r} can read")
    tokenizer.model_max_length = max_length
    return tokenizer


def load_model(folder: Path, params: ModelParams, classes: ClassLabel, attention_dropout: float) -> PreTrainedModel:
    """Load the encoder in `folder` in float32 with a new head for `classes`.

    Raises:
        UserError: if transformers knows no sequence classification for its architecture, or the weights are
            not those of the encoder that config.json describes.
    """
    config = AutoConfig.from_pretrained(folder)
    pooling = resolve_pooling(params.pooling, config, folder)
    overrides: dict[str, object] = {key: attention_dropout for key in ATTENTION_DROPOUT if hasattr(config, key)}
    if pooling == "mean":
        overrides |= prepare_config(config)
    try:
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            folder,
            num_labels=classes.num_classes,
            id2label=dict(enumerate(classes.names)),
            label2id={label: number for number, label in enumerate(classes.names)},
            dtype=torch.float32,
            use_safetensors=True,
            # A checkpoint that was itself a classifier brings a head for its own classes.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **overrides,
        )
    except (OSError, ValueError, SafetensorError) as fault:
        raise UserError(f"model.name {params.name!r}: cannot be loaded: {str(fault).splitlines()[0]}") from None
    _check_encoder(model, loaded, params.name, added="num_hidden_layers" in overrides)
    if pooling == "mean":
        become_mean(model)
    # Who asks the model has to cut texts as it was taught.
    model.config.long_documents = params.long_documents
    log.info("train: %s of %s", "mean pooling" if pooling == "mean" else "the own pooling", config.model_type)
    return model


def _check_encoder(model: PreTrainedModel, loaded: dict[str, set], name: str, added: bool) -> None:
    """Refuse weights that lack a part of the encoder, or have it in another shape: it would be random.

    Args:
        loaded: what transformers says about the loading.
        added: whether the last block is our own.
    """
    ours = {id(weight) for weight in find_blocks(model)[-1].parameters()} if added else set()
    # A head of its own, and a pooler between the two, is what fine-tuning makes new.
    encoder = {
        key
        for key, weight in model.named_parameters()
        if key.startswith(f"{model.base_model_prefix}.") and "pooler" not in key and id(weight) not in ours
    }
    for key, found, wanted in sorted(loaded["mismatched_keys"]):
        if key in encoder:
            raise UserError(
                f"model.name {name!r}: {key} is {tuple(found)} in the weights, {tuple(wanted)} by config.json"
            )
    if missing := sorted(encoder & set(loaded["missing_keys"])):
        raise UserError(
            f"model.name {name!r}: the weights lack {len(missing)} parts of the encoder that config.json describes, "
            f"{missing[0]} first"
        )


def find_blocks(model: PreTrainedModel) -> nn.ModuleList:
    """Return the encoder's stack of blocks: its longest list of modules of one class.

    Raises:
        UserError: if the architecture keeps its blocks in no list.
    """
    lists = [module for module in model.base_model.modules() if isinstance(module, nn.ModuleList) and len(module)]
    alike = [blocks for blocks in lists if len({type(block) for block in blocks}) == 1]
    if not alike:
        raise UserError(f"train.trainable_layers: {type(model).__name__} has no stack of blocks to freeze: set -1")
    return max(alike, key=lambda blocks: (len(blocks), sum(weight.numel() for weight in blocks.parameters())))


def freeze(model: PreTrainedModel, trainable_layers: int) -> None:
    """Freeze embeddings and all but the last `trainable_layers` blocks (-1: freeze nothing).

    What comes after the blocks (a final norm, a pooler, the head) stays trainable.

    Raises:
        UserError: if there are fewer blocks than that.
    """
    if trainable_layers == -1:
        return
    # A block that is frozen already is the one that averages: it belongs to the head.
    blocks = [block for block in find_blocks(model) if any(weight.requires_grad for weight in block.parameters())]
    if trainable_layers > len(blocks):
        raise UserError(f"train.trainable_layers: {trainable_layers} is more than the model's blocks ({len(blocks)})")
    frozen = blocks[: len(blocks) - trainable_layers]
    embeddings = [module for name, module in model.base_model.named_modules() if name.endswith("embeddings")]
    for module in (*frozen, *embeddings, model.get_input_embeddings()):
        module.requires_grad_(False)
