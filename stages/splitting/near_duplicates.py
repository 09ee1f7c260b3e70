"""Near-duplicates: documents that share most of their five-word phrases."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from datasketch import MinHash, MinHashLSH
from datasketch.hashfunc import sha1_hash64

WORDS = 5
PERMUTATIONS = 128
# Odd and large: it makes the order of the words count.
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
# Documents that one is compared with at a time, whose phrases are then in memory twice.
AT_A_TIME = 256

Phrases = npt.NDArray[np.uint64]
Places = npt.NDArray[np.intp]


@lru_cache(maxsize=1 << 18)
def _hash_word(word: str) -> int:
    return int(sha1_hash64(word.encode("utf-8", "surrogatepass")))


def phrases(text: str) -> Phrases:
    """Return the set of five-word phrases of `text` (lower case, punctuation ignored).

    A text of fewer words is one phrase. Each is kept as a hash of 64 bits, far less than its letters take;
    that two phrases of one pair of documents share a hash is less likely than a fault of the memory.

    Returns:
        The hashes, sorted, each once; at least one.
    """
    words = np.fromiter(map(_hash_word, re.findall(r"\w+", text.casefold())), np.uint64)
    count = max(1, len(words) - WORDS + 1)
    hashes = np.zeros(count, np.uint64)
    for place in range(min(WORDS, len(words))):
        hashes = hashes * MULTIPLIER + words[place : place + count]
    return np.unique(hashes)


def similarities(one: Phrases, others: Sequence[Phrases]) -> npt.NDArray[np.float64]:
    """Return the Jaccard similarity, 0 to 1, of a set of phrases and each of `others` (at least one)."""
    sizes = np.array([len(other) for other in others])
    pool = np.concatenate(others)
    shared = one.take(np.searchsorted(one, pool), mode="clip") == pool
    common = np.add.reduceat(shared, np.cumsum(sizes) - sizes, dtype=np.int64)
    return np.asarray(common / (len(one) + sizes - common))


def near_duplicates(texts: Iterable[tuple[str, str]], threshold: float) -> list[list[str]]:
    """Return the groups of documents whose similarity is at least `threshold`, directly or by others of the group.

    MinHash with locality-sensitive hashing (Broder, "On the resemblance and containment of documents",
    1997) finds the candidates; each is then measured exactly, unless its two documents are in one group
    already: a thousand copies take a thousand comparisons, not half a million. Candidates are sought somewhat
    below the threshold, so that of pairs just above it fewer than 1 in 100 are missed.

    Args:
        texts: ids and texts of documents; of the texts only the phrases are kept (8 bytes a word).
        threshold: Jaccard similarity of five-word phrases, above 0 up to 1.

    Returns:
        Each group of two or more sorted, in the order of their first.
    """
    names: list[str] = []
    sets: list[Phrases] = []

    def read() -> Iterable[list[int]]:
        for name, text in texts:
            names.append(name)
            sets.append(phrases(text))
            # datasketch permutes 32 bits; the upper ones of a sum of products are the better mixed.
            yield (sets[-1] >> np.uint64(32)).tolist()

    sketches = [sketch.hashvalues for sketch in MinHash.generator(read(), num_perm=PERMUTATIONS, seed=1, hashfunc=int)]
    if not sketches:
        return []
    # A false candidate costs one comparison, a missed pair a leak: weigh them so. Even weights miss one in five.
    bands = MinHashLSH(threshold=max(0.05, threshold - 0.1), num_perm=PERMUTATIONS, weights=(0.05, 0.95))
    group = _connect(sets, _buckets(np.stack(sketches), bands.b, bands.r), threshold)
    members: dict[int, list[str]] = {}
    for name, number in zip(names, group.tolist(), strict=True):
        members.setdefault(number, []).append(name)
    return sorted(sorted(group) for group in members.values() if len(group) > 1)


def _buckets(sketches: npt.NDArray[np.uint32], bands: int, rows: int) -> list[Places]:
    """Return the places, ascending, of each two or more documents whose sketches agree in a band of `rows` values.

    These are the buckets of `MinHashLSH`, whose own index keeps a Python set for each document and band.
    """
    buckets: list[Places] = []
    for start in range(0, bands * rows, rows):
        _, bucket, sizes = np.unique(sketches[:, start : start + rows], axis=0, return_inverse=True, return_counts=True)
        order = np.argsort(bucket, kind="stable")
        ends = np.cumsum(sizes)
        buckets += [order[end - size : end] for end, size in zip(ends, sizes, strict=True) if size > 1]
    return buckets


def _connect(sets: list[Phrases], buckets: list[Places], threshold: float) -> Places:
    """Measure the candidates that share a bucket; return the number of each document's group."""
    group = np.arange(len(sets))
    sizes = np.array([len(own) for own in sets])
    buckets_of: list[list[int]] = [[] for _ in sets]
    for number, members in enumerate(buckets):
        for place in members.tolist():
            buckets_of[place].append(number)
    closed = np.zeros(len(buckets), bool)
    for one, numbers in enumerate(buckets_of):
        # Earlier documents have been compared with this one.
        later = {number: _after(buckets[number], one) for number in numbers if not closed[number]}
        if not later:
            continue
        is_candidate = np.zeros(len(sets), bool)
        for members in later.values():
            is_candidate[members] = True
        candidates = np.flatnonzero(is_candidate)
        # No more can be common than the smaller set holds.
        bound = np.minimum(sizes[candidates], sizes[one]) / np.maximum(sizes[candidates], sizes[one])
        candidates = candidates[bound >= threshold]
        for start in range(0, len(candidates), AT_A_TIME):
            some = candidates[start : start + AT_A_TIME]
            some = some[group[some] != group[one]]
            if len(some):
                near = some[similarities(sets[one], [sets[place] for place in some]) >= threshold]
                group[np.isin(group, group[near])] = group[one]
        for number, members in later.items():
            closed[number] = (group[members] == group[members[:1]]).all()
    return group


def _after(places: Places, one: int) -> Places:
    return places[np.searchsorted(places, one, side="right") :]
