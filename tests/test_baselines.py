"""What a model has to beat: each baseline learns what it should, and the embeddings predict without having seen."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.evaluation.baselines import embeddings, majority, out_of_fold_embeddings, tfidf
from stages.evaluation.params import TfidfParams


def test_words_and_the_commonest_class_are_learned() -> None:
    texts, labels = ["dough oven", "oven crust", "crust dough", "train track"], ["bread"] * 3 + ["rail"]
    assert majority(texts, labels).predict(["train track"])[0] == "bread"
    assert tfidf(texts, labels, TfidfParams(ngrams=1, C=10.0)).predict(["train track", "oven"]).tolist() == [
        "rail",
        "bread",
    ]


def test_embeddings_of_a_rare_class_weigh_as_much_as_those_of_a_common_one() -> None:
    vectors = np.array([[1.0, 0.1]] * 9 + [[0.0, 1.0]])
    fitted = embeddings(vectors, ["bread"] * 9 + ["rail"], 1.0)
    assert fitted.predict(np.array([[0.45, 0.6]]))[0] == "rail"


def documents(sizes: dict[str, list[int]]) -> pl.DataFrame:
    """Documents by class, as sizes of groups of duplicates."""
    return pl.DataFrame(
        [
            {"document_id": f"{label}-{group}-{copy}", "label": label, "group": f"{label}-{group}"}
            for label, groups in sizes.items()
            for group, size in enumerate(groups)
            for copy in range(size)
        ]
    )


def test_no_document_is_predicted_by_what_has_seen_it_or_its_duplicates() -> None:
    """Each group has a direction of its own, which tells its class to none but those who have met it."""
    frame = documents({"bread": [2] * 6, "rail": [2] * 6})
    groups = frame["group"].unique(maintain_order=True).to_list()
    vectors = np.eye(len(groups))[[groups.index(group) for group in frame["group"]]]
    seen = embeddings(vectors, frame["label"].to_list(), 1.0).predict_proba(vectors)
    assert np.abs(seen - 0.5).min() > 0.05
    unseen = out_of_fold_embeddings(frame, vectors, 1.0, 0)
    # Nothing is known of its direction, and the classes are as large as each other.
    assert unseen == pytest.approx(0.5, abs=0.05)


@settings(max_examples=15)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(1, 3), min_size=2, max_size=7), min_size=2),
    st.integers(0, 5),
)
def test_every_document_gets_a_probability_of_each_class(sizes: dict[str, list[int]], seed: int) -> None:
    frame = documents(sizes)
    vectors = np.random.default_rng(seed).normal(size=(len(frame), 3))
    found = out_of_fold_embeddings(frame, vectors, 1.0, seed)
    assert found.shape == (len(frame), len(sizes))
    assert found.sum(axis=1) == pytest.approx(1)
    assert np.array_equal(found, out_of_fold_embeddings(frame, vectors, 1.0, seed))


def test_probabilities_stand_in_the_order_of_the_names_of_classes() -> None:
    frame = documents({"rail": [1] * 5, "bread": [1] * 5})
    vectors = np.array([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 5)
    found = out_of_fold_embeddings(frame, vectors, 10.0, 0)
    assert [["bread", "rail"][place] for place in found.argmax(axis=1)] == frame["label"].to_list()
