"""Evaluation: scores by hand, gold against labels, baselines, the table of errors."""

import numpy as np
import polars as pl
import pytest

from stages.evaluate import evaluate, list_errors, true_labels
from stages.evaluation.baselines import majority, tfidf
from stages.evaluation.params import TfidfParams
from stages.evaluation.scores import per_class, scores

TEST = pl.DataFrame(
    {"document_id": ["a", "b", "c", "d"], "text": ["w"] * 4, "label": ["bread", "bread", "rail", "rail"]}
)
TRAIN = pl.DataFrame({"document_id": ["e", "f"], "text": ["w"] * 2, "label": ["bread", "rail"]})
LABELS = ["bread", "rail"]


def test_scores_are_those_computed_by_hand() -> None:
    # bread: precision 1, recall 1/2, F1 2/3; rail: precision 2/3, recall 1, F1 4/5
    found = scores(["bread", "bread", "rail", "rail"], ["bread", "rail", "rail", "rail"], LABELS)
    assert found == {
        "macro_f1": round((2 / 3 + 4 / 5) / 2, 4),
        "weighted_f1": round((2 / 3 + 4 / 5) / 2, 4),
        "accuracy": 0.75,
    }


def test_a_class_nobody_has_counts_as_zero_in_macro_f1() -> None:
    assert scores(["bread"], ["bread"], LABELS)["macro_f1"] == 0.5


def test_each_class_has_its_precision_recall_f1_and_support() -> None:
    rows = per_class(["bread", "bread", "rail"], ["bread", "rail", "rail"], LABELS)
    assert rows["bread"] == {"precision": 1.0, "recall": 0.5, "f1": round(2 / 3, 4), "support": 2}
    assert rows["rail"] == {"precision": 0.5, "recall": 1.0, "f1": round(2 / 3, 4), "support": 1}


def test_gold_categories_go_through_the_same_merging_as_the_labels() -> None:
    gold = pl.DataFrame({"document_id": ["a", "b", "c", "d"], "category": ["Rolls", "tram", "hats", "Coaches "]})
    classes = pl.DataFrame({"category": ["rolls", "tram", "hats"], "label": ["bread", "rail", None]})
    assert true_labels(gold, classes) == {"a": "bread", "b": "rail", "d": "Coaches "}


def test_the_gap_and_the_baselines_stand_beside_the_model() -> None:
    predicted = {"model": ["bread", "bread", "rail", "bread"], "majority": ["bread"] * 4}
    metrics = evaluate(TEST, TRAIN, predicted, ["bread", "rail"], {}, LABELS)
    assert metrics["train"]["macro_f1"] == 1.0
    assert metrics["train_test_gap"] == round(1 - metrics["test"]["macro_f1"], 4)
    assert metrics["baselines"]["majority"]["accuracy"] == 0.5
    assert "gold" not in metrics


def test_against_gold_only_documents_with_a_gold_label_count() -> None:
    predicted = {"model": ["bread", "rail", "rail", "rail"], "tfidf": ["bread", "bread", "rail", "rail"]}
    metrics = evaluate(TEST, TRAIN, predicted, ["bread", "rail"], {"a": "bread", "b": "rail", "z": "rail"}, LABELS)
    gold = metrics["gold"]
    assert gold["documents"] == 2
    assert gold["test"]["accuracy"] == 1.0
    assert gold["baselines"]["tfidf"]["accuracy"] == 0.5
    assert gold["labels"]["accuracy"] == 0.5


def test_a_gold_class_no_label_has_counts_as_an_error() -> None:
    predicted = {"model": ["bread", "bread", "rail", "rail"]}
    metrics = evaluate(TEST, TRAIN, predicted, ["bread", "rail"], {"a": "bread", "c": "ships"}, LABELS)
    assert metrics["gold"]["test"]["accuracy"] == 0.5


def test_errors_are_listed_most_confident_first() -> None:
    table = list_errors(TEST, ["rail", "bread", "bread", "rail"], np.array([0.6, 0.9, 0.8, 0.7], dtype=np.float32))
    assert table.rows() == [("c", "rail", "bread", pytest.approx(0.8)), ("a", "bread", "rail", pytest.approx(0.6))]


def test_baselines_learn_what_they_should() -> None:
    texts, labels = ["dough oven", "oven crust", "crust dough", "train track"], ["bread"] * 3 + ["rail"]
    assert majority(texts, labels).predict(["train track"])[0] == "bread"
    assert tfidf(texts, labels, TfidfParams(ngrams=1, C=10.0)).predict(["train track", "oven"]).tolist() == [
        "rail",
        "bread",
    ]
