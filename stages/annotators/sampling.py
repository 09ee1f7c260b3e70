"""Which documents are annotated when not all are."""

from stages.params.seeds import derive, rank


def sample(document_ids: list[str], size: int, seed: int) -> set[str]:
    """Draw `size` of the documents at random, or all if `size` is 0.

    Each document has a fixed place in a seeded order and the first `size` are drawn: adding a
    document leaves the sample as it is unless the new one itself is drawn, which displaces one.
    """
    if not size:
        return set(document_ids)
    order = derive(seed, "annotate.sample")
    return set(sorted(document_ids, key=lambda name: rank(order, "document", name))[:size])
