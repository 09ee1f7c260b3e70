"""A padded batch as one row of its real tokens, and back."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """Where the real tokens of a batch stand: documents one after another, without padding.

    Args:
        batch: documents.
        width: tokens of a row of the batch, padding included.
        indices: [tokens] places of the real tokens in the flattened batch; None if every token is real.
        lengths: [batch] real tokens of each document.
        bounds: [batch + 1] int32, where each document starts in the row, and the end of the last.
    """

    batch: int
    width: int
    indices: Tensor | None
    lengths: list[int]
    bounds: Tensor

    def pack(self, padded: Tensor) -> Tensor:
        """Turn [batch, width, ...] into [tokens, ...]."""
        flat = padded.flatten(0, 1)
        return flat if self.indices is None else flat.index_select(0, self.indices)

    def unpack(self, packed: Tensor) -> Tensor:
        """Turn [tokens, ...] into [batch, width, ...], with zeros for padding."""
        if self.indices is None:
            return packed.unflatten(0, (self.batch, self.width))
        flat = packed.new_zeros(self.batch * self.width, *packed.shape[1:])
        return flat.index_copy(0, self.indices, packed).unflatten(0, (self.batch, self.width))


# The number of real tokens depends on the data: a compiled graph has to end here in any case.
@torch.compiler.disable
def find_packing(attention_mask: Tensor | None, batch: int, width: int, device: torch.device) -> Packing:
    """Return the packing of a batch; `attention_mask` [batch, width] is 0 where a token is padding."""
    if attention_mask is None or bool(attention_mask.all()):
        bounds = torch.arange(0, (batch + 1) * width, width, dtype=torch.int32, device=device)
        return Packing(batch, width, None, [width] * batch, bounds)
    real = attention_mask.bool()
    counts = real.sum(dim=1)
    bounds = torch.nn.functional.pad(counts.cumsum(0), (1, 0)).to(torch.int32)
    return Packing(batch, width, real.flatten().nonzero().squeeze(1), counts.tolist(), bounds)
