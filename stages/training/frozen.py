"""Frozen blocks run once: the states they hand on are kept, and every epoch starts from those.

Embeddings and blocks that do not learn give a document the same states in each epoch. They are computed before
the first one; then the model is trained without them, and gets them back.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.runtime.errors import UserError
from stages.runtime.progress import progress
from stages.training.data import Collator, collate
from stages.training.model import find_blocks
from stages.windows import batches, pad

log = logging.getLogger(__name__)

# Architectures whose blocks take the last one's states and nothing else of the blocks before; tested for each.
SEPARABLE = frozenset({"bert", "distilbert", "modernbert", "neobert"})


@contextmanager
def frozen_blocks_run_once(
    model: PreTrainedModel,
    rows: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    bf16: bool,
    batch_tokens: int,
    allocate: Callable[[int, int, torch.dtype], Tensor],
) -> Iterator[tuple[Dataset, Collator]]:
    """Yield rows and collator to train `model` with, which meanwhile lacks what never learns.

    The rows then number their windows instead of holding token ids. Where the embeddings learn, or the
    architecture's blocks cannot be run apart, they stay as they are, and the model whole.

    Args:
        model: on the device where it is trained.
        rows: `windows` and `labels` of every document, as `encode` gives them.
        batch_tokens: tokens that the frozen blocks read at a time.
        allocate: gives a tensor of so many rows, columns and this dtype.
    """
    count = _count_frozen(model)
    if count is None:
        yield rows, lambda batch: collate(batch, lambda windows: pad(windows, tokenizer))
        return
    windows = [ids for document in rows["windows"] for ids in document]
    lengths = [len(ids) for ids in windows]
    tokens = allocate(sum(lengths), model.config.hidden_size, torch.bfloat16 if bf16 else torch.float32)
    parts = tokens.split(lengths)
    with torch.inference_mode(), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        _fill(parts, model, count, windows, batches(lengths, batch_tokens), tokenizer)

    def states(places: list[int]) -> dict[str, Tensor]:
        found = [parts[place] for place in places]
        padded = pad_sequence(found, batch_first=True).float()
        reached = torch.tensor([len(part) for part in found])[:, None]
        return {"inputs_embeds": padded, "attention_mask": (torch.arange(padded.shape[1]) < reached).long()}

    places = iter(range(len(windows)))
    numbers = [[next(places) for _ in document] for document in rows["windows"]]
    numbered = Dataset.from_dict({**rows.remove_columns("windows")[:], "windows": numbers})
    with _only(model, slice(count, None)), _without_embeddings(model):
        yield numbered, lambda batch: collate(batch, states)


def _count_frozen(model: PreTrainedModel) -> int | None:
    """Return how many blocks from the bottom never learn; None if embeddings do, or blocks do not stand alone."""
    if any(weight.requires_grad for weight in model.get_input_embeddings().parameters()):
        return None
    if model.config.model_type not in SEPARABLE:
        log.info("train: frozen blocks of %s are run in every epoch", model.config.model_type)
        return None
    learns = [any(weight.requires_grad for weight in block.parameters()) for block in find_blocks(model)]
    return learns.index(True) if any(learns) else len(learns)


def _fill(
    parts: Sequence[Tensor],
    model: PreTrainedModel,
    count: int,
    windows: Sequence[list[int]],
    order: Sequence[list[int]],
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Write into `parts` what embeddings and the first `count` blocks say about each token of each window."""
    last = find_blocks(model)[count - 1] if count else _embeddings(model) or model.get_input_embeddings()
    outputs: list[Tensor | tuple[Tensor, ...]] = []
    hook = last.register_forward_hook(lambda *call: outputs.append(call[-1]))
    model.eval()
    with _only(model, slice(count)):
        for places in progress(order, total=len(order), what="frozen blocks"):
            batch = {
                key: tensor.to(model.device)
                for key, tensor in pad([windows[place] for place in places], tokenizer).items()
            }
            model(**batch)
            output = outputs.pop()
            states = output[0] if isinstance(output, tuple) else output
            if states.ndim == 3:  # padded; NeoBERT's are packed
                states = states[batch["attention_mask"].bool()]
            for place, part in zip(places, states.split([len(windows[place]) for place in places]), strict=True):
                parts[place].copy_(part)
    hook.remove()


@contextmanager
def _only(model: PreTrainedModel, kept: slice) -> Iterator[None]:
    """Take the blocks that are not `kept` out of the model."""
    blocks = find_blocks(model)
    parent, name = next(
        (module, name) for module in model.modules() for name, child in module.named_children() if child is blocks
    )
    setattr(parent, name, blocks[kept])
    try:
        yield
    finally:
        setattr(parent, name, blocks)


@contextmanager
def _without_embeddings(model: PreTrainedModel) -> Iterator[None]:
    """Have the model take `inputs_embeds` as they are, positions and types of tokens included."""
    embeddings = _embeddings(model)
    if embeddings is not None:
        model.base_model.embeddings = _Given()
    try:
        yield
    finally:
        if embeddings is not None:
            model.base_model.embeddings = embeddings


def _embeddings(model: PreTrainedModel) -> nn.Module | None:
    """Return what adds positions and types of tokens to their embeddings, if there is such a thing."""
    found: nn.Module | None = getattr(model.base_model, "embeddings", None)
    return found


class _Given(nn.Module):
    """In the place of the embeddings: the states are given."""

    def forward(self, input_ids: None = None, inputs_embeds: Tensor | None = None, *_: object, **__: object) -> Tensor:
        if inputs_embeds is None:
            raise ValueError("a model without its frozen blocks takes inputs_embeds")
        return inputs_embeds


def allocate(rows: int, columns: int, dtype: torch.dtype, limit_mb: int, file: Path) -> Tensor:
    """Return an empty tensor: in memory, or in the memory-mapped `file` if it takes more than `limit_mb` MiB.

    Raises:
        UserError: if the disk has no room for the file.
    """
    size = rows * columns * dtype.itemsize
    if size <= limit_mb * 2**20:
        return torch.empty(rows, columns, dtype=dtype)
    log.info("train: %.1f GiB of states of the frozen blocks go into a file", size / 2**30)
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("wb") as content:
            if hasattr(os, "posix_fallocate"):  # not on macOS
                # Reserved now: a full disk met while writing to mapped memory would kill the process.
                os.posix_fallocate(content.fileno(), 0, size)
            else:
                content.truncate(size)
    except OSError as fault:
        file.unlink(missing_ok=True)
        raise UserError(
            f"train: no room for {size / 2**30:.1f} GiB of states of the frozen blocks ({fault.strerror}): "
            "make room, or move the cache with PIPELINE_CACHE"
        ) from None
    return torch.from_file(str(file), shared=True, size=rows * columns, dtype=dtype).view(rows, columns)
