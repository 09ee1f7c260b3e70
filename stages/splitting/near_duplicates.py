"""Near-duplicates: documents that share most of their five-word phrases."""

import re

from datasketch import MinHash, MinHashLSH

WORDS = 5
PERMUTATIONS = 128

Phrases = frozenset[bytes]


def phrases(text: str) -> Phrases:
    """Return the set of five-word phrases of `text` (lower case, punctuation ignored)."""
    words = re.findall(r"\w+", text.casefold())
    last = max(1, len(words) - WORDS + 1)
    return frozenset(" ".join(words[start : start + WORDS]).encode() for start in range(last))


def similarity(one: Phrases, other: Phrases) -> float:
    """Return the Jaccard similarity of two sets of phrases, 0 to 1."""
    return len(one & other) / len(one | other)


def near_duplicates(texts: dict[str, str], threshold: float) -> list[tuple[str, str]]:
    """Return the pairs of documents whose similarity is at least `threshold`.

    MinHash with locality-sensitive hashing (Broder, "On the resemblance and containment of documents",
    1997) finds the candidates; each is then measured exactly. Candidates are sought somewhat below the
    threshold, so that of pairs just above it fewer than 1 in 100 are missed.

    Args:
        texts: document to text.
        threshold: Jaccard similarity of five-word phrases, above 0 up to 1.
    """
    # A false candidate costs one comparison, a missed pair a leak: weigh them so. Even weights miss one in five.
    index = MinHashLSH(threshold=max(0.05, threshold - 0.1), num_perm=PERMUTATIONS, weights=(0.05, 0.95))
    sets: dict[str, Phrases] = {}
    pairs = []
    for name in sorted(texts):
        own = phrases(texts[name])
        sketch = MinHash(num_perm=PERMUTATIONS, seed=1)
        sketch.update_batch(sorted(own))
        pairs += [(found, name) for found in sorted(index.query(sketch)) if similarity(own, sets[found]) >= threshold]
        index.insert(name, sketch)
        sets[name] = own
    return pairs
