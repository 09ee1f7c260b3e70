"""Near-duplicates: what is found is what comparing every pair would find, at a fraction of the work."""

import math
import random
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.corpus.duplicates import first_of_each
from stages.splitting import near_duplicates as module
from stages.splitting.near_duplicates import Phrases, near_duplicates, phrases, similarities

# 100 words make 96 five-word phrases; a changed word inside costs 5 of them, so k changed words, each five
# from the next, leave a similarity of (96 - 5k) / (96 + 5k): 0.730 for 3 words, 0.655 for 4.
BASE = [f"word{place}" for place in range(100)]


def change(words: list[str], *places: int) -> list[str]:
    """Change the words at `places`, each place in its own way."""
    return [f"other{place}" if place in places else word for place, word in enumerate(words)]


def words_of(text: str) -> set[tuple[str, ...]]:
    """Return the five-word phrases of a text of lower-case words, as words."""
    words = text.split()
    return {tuple(words[start : start + 5]) for start in range(max(1, len(words) - 4))}


def groups_by_every_pair(texts: dict[str, str], threshold: float) -> list[list[str]]:
    """Compare every pair of texts, without hashes or candidates; return the groups."""
    sets = {name: words_of(text) for name, text in texts.items()}
    keys: dict[str, list[str]] = {name: [name] for name in texts}
    for one, other in combinations(texts, 2):
        if len(sets[one] & sets[other]) / len(sets[one] | sets[other]) >= threshold:
            keys[other].append(one)
    groups: dict[str, list[str]] = {}
    for name, first in first_of_each(list(keys.values()), list(texts)).items():
        groups.setdefault(first, []).append(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def families(chance: random.Random, families: int, size: int) -> dict[str, str]:
    """Make families of texts, each with up to 25 of its 120 words changed, so that similarities lie all over."""
    texts: dict[str, str] = {}
    for family in range(families):
        words = [chance.choice("abcdefghijklmnopqrst") * 3 + str(family) for _ in range(120)]
        for number in range(size):
            places = chance.sample(range(120), chance.choice([0, 1, 3, 6, 12, 25]))
            texts[f"{family}-{number}"] = " ".join(change(words, *places))
    return texts


@pytest.mark.parametrize(
    ("changes", "expected"), [((10, 30, 50), 81 / 111), ((10, 30, 50, 70), 76 / 116), ((), 1.0), ((99,), 95 / 97)]
)
def test_the_similarity_of_two_texts_is_their_share_of_common_phrases(
    changes: tuple[int, ...], expected: float
) -> None:
    found = similarities(phrases(" ".join(BASE)), [phrases(" ".join(change(BASE, *changes))), phrases("another")])
    assert found.tolist() == pytest.approx([expected, 0])


@given(st.lists(st.text("ab ", max_size=25), min_size=2, max_size=5))
def test_hashed_phrases_measure_as_the_phrases_themselves(texts: list[str]) -> None:
    one, *others = map(words_of, texts)
    found = similarities(phrases(texts[0]), [phrases(text) for text in texts[1:]])
    assert found.tolist() == [len(one & other) / len(one | other) for other in others]


def test_case_and_punctuation_make_no_difference() -> None:
    assert np.array_equal(phrases("One, two: three — FOUR five."), phrases("one two three four (five)"))


def test_the_order_of_words_does() -> None:
    assert not np.array_equal(phrases("one two three four five"), phrases("two one three four five"))


def test_a_text_shorter_than_a_phrase_is_one_phrase() -> None:
    assert len(phrases("only four words here")) == len(phrases("")) == 1
    assert similarities(phrases("only four words here"), [phrases("only four words"), phrases("")]).tolist() == [0, 0]


@pytest.mark.parametrize(("changes", "found"), [((10, 30, 50), True), ((10, 30, 50, 70), False)])
def test_texts_on_either_side_of_the_threshold_are_told_apart(changes: tuple[int, ...], found: bool) -> None:
    groups = near_duplicates([("a", " ".join(BASE)), ("b", " ".join(change(BASE, *changes)))], 0.7)
    assert groups == ([["a", "b"]] if found else [])


def test_a_similarity_of_exactly_the_threshold_counts() -> None:
    texts = [("a", " ".join(BASE)), ("b", " ".join(change(BASE, 10, 30, 50)))]
    assert near_duplicates(texts, 81 / 111) == [["a", "b"]]


def test_without_texts_there_are_none() -> None:
    assert near_duplicates([], 0.7) == []


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_what_is_found_is_what_comparing_every_pair_finds(threshold: float) -> None:
    texts = families(random.Random(0), families=4, size=12)
    expected = groups_by_every_pair(texts, threshold)
    assert expected
    assert near_duplicates(texts.items(), threshold) == expected


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_of_pairs_just_above_the_threshold_at_most_1_in_100_is_missed(threshold: float) -> None:
    """Pairs of texts of 100 phrases that begin alike and go on in words of their own."""
    common = math.ceil(200 * threshold / (1 + threshold))
    texts = {
        f"{pair}{side}": " ".join(f"{pair}w{place}{side if place >= common + 4 else ''}" for place in range(104))
        for pair in range(300)
        for side in "ab"
    }
    found = near_duplicates(texts.items(), threshold)
    assert set(map(tuple, found)) <= {(f"{pair}a", f"{pair}b") for pair in range(300)}
    assert len(found) >= 297


@given(st.dictionaries(st.text("xyz", min_size=1, max_size=3), st.text("ab ", max_size=30), max_size=8))
@settings(max_examples=30)
def test_equal_texts_are_always_found_and_unlike_ones_never(texts: dict[str, str]) -> None:
    assert near_duplicates(texts.items(), 1.0) == groups_by_every_pair(texts, 1.0)
    every = groups_by_every_pair(texts, 0.7)
    assert all(any(set(group) <= set(whole) for whole in every) for group in near_duplicates(texts.items(), 0.7))


@given(st.integers(), st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_the_order_of_documents_does_not_matter(seed: int, chance: random.Random) -> None:
    texts = list(families(random.Random(seed), families=2, size=6).items())
    expected = near_duplicates(texts, 0.7)
    chance.shuffle(texts)
    assert near_duplicates(texts, 0.7) == expected


def test_a_family_of_copies_is_one_group_and_takes_a_comparison_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair of the 600 would be 179,700 comparisons."""
    chance = random.Random(0)
    texts = {f"d{number:03}": " ".join(change(BASE, chance.randrange(100))) for number in range(600)}
    compared = []

    def counted(one: Phrases, others: Sequence[Phrases]) -> npt.NDArray[np.float64]:
        compared.append(len(others))
        return similarities(one, others)

    monkeypatch.setattr(module, "similarities", counted)
    assert near_duplicates(texts.items(), 0.7) == [sorted(texts)]
    assert sum(compared) < 2 * len(texts)
