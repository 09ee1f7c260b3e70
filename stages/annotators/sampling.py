"""Which documents are annotated, or labelled by people, when not all are."""

from stages.params.seeds import derive, rank


def shuffled(document_ids: list[str], seed: int) -> list[str]:
    """Return the documents in a seeded random order in which each has a place of its own, whatever others there are."""
    order = derive(seed, "annotate.sample")
    return sorted(document_ids, key=lambda name: rank(order, "document", name))


def sample(document_ids: list[str], size: int, seed: int) -> set[str]:
    """Draw `size` of the documents at random, or all if `size` is 0.

    The first of a seeded order are drawn: adding a document leaves the sample as it is unless the new one itself is
    drawn, which displaces one.
    """
    return set(shuffled(document_ids, seed)[:size] if size else document_ids)
