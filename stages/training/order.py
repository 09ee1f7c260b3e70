"""The order in which training sees the documents."""

from collections.abc import Iterator

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler


class ShuffledBatches(LengthGroupedSampler):
    """Batches of documents of like length, which need little padding, in random order.

    transformers' sampler hands them on from the longest documents to the shortest, four times an epoch or once in 50
    batches, so that the steps before an evaluation are those of short documents alone. Its first batch, that of the
    longest document, stays the first: memory runs out early. An incomplete batch stays the last.
    """

    def __iter__(self) -> Iterator[int]:
        """Yield each document's place once."""
        places = torch.tensor(list(super().__iter__()))
        first, rest = places[: self.batch_size], places[self.batch_size :]
        whole = len(rest) - len(rest) % self.batch_size
        batches = rest[:whole].view(-1, self.batch_size)
        # torch's own randomness, as in transformers' order: checkpoints hold its state.
        batches = batches[torch.randperm(len(batches), generator=self.generator)]
        yield from torch.cat([first, batches.flatten(), rest[whole:]]).tolist()
