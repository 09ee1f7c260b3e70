"""Evaluation: scores by hand, gold and corrections against labels, the learning curve, the tables behind the plots."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from stages.corpus.tables import COLUMNS
from stages.evaluate import Answers, evaluate
from stages.evaluation.learning import learning_curve
from stages.evaluation.params import EmbeddingsParams, EvaluateParams, TfidfParams
from stages.evaluation.references import labels_before, true_labels
from stages.evaluation.scores import per_class, scores
from stages.evaluation.tables import list_errors, tables
from stages.runtime.errors import UserError

TEST = pl.DataFrame(
    {
        "document_id": ["a", "b", "c", "d"],
        "text": ["w"] * 4,
        "label": ["bread", "bread", "rail", "rail"],
        "group": ["a", "b", "c", "d"],
    }
)
TRAIN = pl.DataFrame({"document_id": ["e", "f"], "text": ["w"] * 2, "label": ["bread", "rail"]})
LABELS = ["bread", "rail"]
PARAMS = EvaluateParams(
    batch_tokens=100,
    resamples=200,
    seed=0,
    tfidf=TfidfParams(ngrams=1, C=1.0),
    embeddings=EmbeddingsParams(max_tokens=100, C=1.0),
)


def judged(
    predicted: list[str],
    gold: dict[str, str] | None = None,
    replaced: dict[str, str] | None = None,
    curve: list[dict[str, Any]] | None = None,
    **baselines: list[str],
) -> dict[str, Any]:
    """Evaluate a model that gives the four test documents these classes, at probability 0.88 each."""
    logits = np.array([[2.0, 0.0] if label == "bread" else [0.0, 2.0] for label in predicted], dtype=np.float32)
    answers = Answers(LABELS, logits, 2.0, ["bread", "rail"], baselines)
    return evaluate(TEST, TRAIN, answers, gold or {}, replaced or {}, curve or [], PARAMS)


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


def test_labels_that_overrides_changed_are_told_from_those_given() -> None:
    labels = pl.DataFrame(
        {
            "document_id": ["a", "b", "c", "d", "e"],
            "category": ["rolls", "rolls", "hats", None, "tram"],
            "label": ["bread", "rail", "bread", "bread", "other"],
        }
    )
    classes = pl.DataFrame({"category": ["rolls", "tram", "hats"], "label": ["bread", "other", None]})
    # c was of a class that is dropped, and d of none.
    assert labels_before(labels, classes) == {"b": "bread"}


def test_the_gap_the_baselines_and_the_differences_stand_beside_the_model() -> None:
    metrics = judged(["bread", "bread", "rail", "bread"], majority=["bread"] * 4)
    assert metrics["train"]["macro_f1"] == 1.0
    assert metrics["train_test_gap"] == round(1 - metrics["test"]["macro_f1"], 4)
    assert metrics["baselines"]["majority"]["accuracy"] == 0.5
    difference = metrics["paired"]["majority"]["macro_f1_difference"]
    assert difference == round(metrics["test"]["macro_f1"] - metrics["baselines"]["majority"]["macro_f1"], 4)
    low, high = (metrics["test"]["intervals"]["accuracy"][end] for end in ("low", "high"))
    assert low <= metrics["test"]["accuracy"] <= high
    assert not {"gold", "overrides", "learning_curve"} & set(metrics)


def test_against_gold_only_documents_with_a_gold_label_count() -> None:
    gold = {"a": "bread", "b": "rail", "z": "rail"}
    metrics = judged(["bread", "rail", "rail", "rail"], gold, tfidf=["bread", "bread", "rail", "rail"])["gold"]
    assert metrics["documents"] == 2
    assert metrics["test"]["accuracy"] == 1.0
    assert metrics["test"]["intervals"]["accuracy"]["low"] < 1.0
    assert metrics["baselines"]["tfidf"]["accuracy"] == 0.5
    assert metrics["labels"]["accuracy"] == 0.5


def test_a_gold_class_no_label_has_counts_as_an_error() -> None:
    metrics = judged(["bread", "bread", "rail", "rail"], {"a": "bread", "c": "ships"})
    assert metrics["gold"]["test"]["accuracy"] == 0.5


def test_macro_f1_against_gold_leaves_out_classes_that_none_of_its_documents_has() -> None:
    found = judged(["bread", "bread", "rail", "rail"], {"a": "bread", "b": "bread"})["gold"]
    assert found["test"]["macro_f1"] == found["labels"]["macro_f1"] == 1.0
    assert found["test"]["intervals"]["macro_f1"]["high"] == 1.0
    # A class that was given wrongly counts.
    assert judged(["bread", "rail", "rail", "rail"], {"a": "bread", "b": "bread"})["gold"]["test"]["macro_f1"] < 0.5


def test_the_test_set_is_scored_by_the_labels_before_and_after_they_were_corrected() -> None:
    metrics = judged(["bread", "rail", "rail", "rail"], replaced={"a": "rail", "c": "hats", "z": "rail"})
    assert metrics["overrides"]["changed"] == 2
    assert metrics["overrides"]["before"]["accuracy"] == 0.25
    assert metrics["overrides"]["after"]["accuracy"] == metrics["test"]["accuracy"] == 0.75


def test_corrections_in_training_alone_leave_the_test_set_as_it_is() -> None:
    found = judged(["bread", "rail", "rail", "rail"], replaced={"z": "rail"})["overrides"]
    assert found["changed"] == 0
    assert found["before"] == found["after"]


def test_calibration_is_measured_before_and_after_the_temperature() -> None:
    metrics = judged(["bread", "bread", "rail", "bread"])
    sure, less = 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-1))
    assert metrics["calibration"]["temperature"] == 2.0
    assert metrics["calibration"]["before"]["ece"] == round(sure - 0.75, 4)
    assert metrics["calibration"]["after"]["ece"] == round(0.75 - less, 4)
    assert metrics["coverage"] == {
        "0.5": {"coverage": 1.0, "accuracy": 0.75},
        "0.7": {"coverage": 1.0, "accuracy": 0.75},
        "0.9": {"coverage": 0.0, "accuracy": None},
    }


def test_a_model_that_lacks_a_class_of_the_test_set_is_named() -> None:
    answers = Answers(["bread", "ships"], np.zeros((4, 2)), 1.0, ["bread", "bread"], {})
    with pytest.raises(UserError, match="trained without class 'rail' of the test set"):
        evaluate(TEST, TRAIN, answers, {}, {}, [], PARAMS)


def predictions(right: dict[float, int]) -> pl.DataFrame:
    """Predictions for 20 documents in two folds, so many of them right for each share of 40 learned from."""
    rows = [
        {
            "share": share,
            "documents": round(40 * share) + place % 2,
            "fold": place % 2 + 1,
            "document_id": f"{place}",
            "label": LABELS[place % 2],
            "predicted": LABELS[place % 2 if place < count else 1 - place % 2],
        }
        for share, count in right.items()
        for place in range(20)
    ]
    return pl.DataFrame(rows, schema=COLUMNS["learning_curve.parquet"])


def test_the_learning_curve_has_a_point_for_each_share() -> None:
    documents = pl.DataFrame({"document_id": [f"{place}" for place in range(20)]}).with_columns(group="document_id")
    curve = learning_curve(predictions({1.0: 18, 0.25: 12}), documents, LABELS, PARAMS)
    assert [(point["share"], point["documents"]) for point in curve] == [(0.25, 10), (1.0, 40)]
    assert [point["macro_f1"] for point in curve] == [0.6, 0.9]
    assert all(point["low"] < point["macro_f1"] < point["high"] for point in curve)
    found = judged(["bread"] * 4, curve=curve)
    table = tables(TEST, LABELS, np.zeros((4, 2)), 1.0, found)["learning_curve"]
    assert table.columns == ["documents", "macro_f1", "low", "high"]
    assert table["macro_f1"].to_list() == [0.6, 0.9]


def test_without_a_learning_curve_its_table_is_a_header_alone() -> None:
    documents = pl.DataFrame({"document_id": [], "group": []}, schema={"document_id": pl.String, "group": pl.String})
    assert learning_curve(predictions({}), documents, LABELS, PARAMS) == []
    table = tables(TEST, LABELS, np.zeros((4, 2)), 1.0, judged(["bread"] * 4))["learning_curve"]
    assert table.write_csv() == "documents,macro_f1,low,high\n"


def test_the_tables_hold_each_test_document_once() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 2.0], [0.0, 0.5], [0.0, 2.0]], dtype=np.float32)
    found = tables(TEST, LABELS, logits, 2.0, judged(["bread", "rail", "rail", "rail"]))
    assert found["confusion"].rows() == [("bread", "bread"), ("bread", "rail"), ("rail", "rail"), ("rail", "rail")]
    assert found["errors"]["probability"].to_list() == [round(1 / (1 + float(np.exp(-1))), 4)]
    documents = dict(found["reliability"].group_by("scaling").agg(pl.col("documents").sum()).iter_rows())
    assert documents == {"before": 4, "after": 4}
    assert found["reliability"].columns == ["confidence", "accuracy", "documents", "scaling"]
    assert found["coverage"].columns == ["threshold", "coverage", "accuracy"]
    assert found["coverage"].rows()[0] == (0.0, 1.0, 0.75)


def test_errors_are_listed_most_confident_first() -> None:
    table = list_errors(TEST, ["rail", "bread", "bread", "rail"], np.array([0.6, 0.9, 0.8, 0.7], dtype=np.float32))
    assert table.rows() == [("c", "rail", "bread", pytest.approx(0.8)), ("a", "bread", "rail", pytest.approx(0.6))]
