"""Label problems: planted errors are found, clean labels left alone, overlapping classes named."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.tables import COLUMNS, OUT_OF_FOLD
from stages.evaluation.params import EvaluateParams
from stages.params import load, validate
from stages.runtime.errors import UserError
from stages.suspects.doubts import LEAST_CONFIDENT, OutOfFold, find_suspects, least_confident
from stages.suspects.out_of_fold import out_of_fold as probabilities
from stages.suspects.overlaps import class_overlaps
from stages.suspects.problems import checked_documents, label_problems
from tests.conftest import ROOT

CLASSES = ["bread", "rail", "ships", "hats"]


def answers(true: np.ndarray, sure: float, seed: int = 0) -> np.ndarray:
    """Return probabilities of a model that gives the true class `sure`, more or less."""
    random = np.random.default_rng(seed)
    weights = np.ones((len(true), len(CLASSES)))
    weights[np.arange(len(true)), true] = sure * (len(CLASSES) - 1) / (1 - sure)
    return np.array([random.dirichlet(3 * row) for row in weights])


def out_of_fold(labels: np.ndarray, probabilities: np.ndarray) -> OutOfFold:
    documents = pl.DataFrame(
        {
            "document_id": [f"d{place:04}" for place in range(len(labels))],
            "label": [CLASSES[place] for place in labels],
            "side": ["validation" if place % 10 == 0 else "train" for place in range(len(labels))],
        }
    )
    return OutOfFold(documents, probabilities, CLASSES)


def flipped(true: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of which `share` are another class at random, and the places of those."""
    random = np.random.default_rng(seed)
    places = random.permutation(len(true))[: round(share * len(true))]
    labels = true.copy()
    labels[places] = (true[places] + random.integers(1, len(CLASSES), len(places))) % len(CLASSES)
    return labels, places


@pytest.mark.parametrize("seed", range(3))
def test_most_planted_errors_are_found_and_hardly_anything_else(seed: int) -> None:
    true = np.arange(400) % 4
    labels, places = flipped(true, 0.1, seed)
    suspects = find_suspects(out_of_fold(labels, answers(true, 0.8, seed)))
    names = {f"d{place:04}" for place in places}
    found = set(suspects["document_id"])
    assert len(found & names) / len(names) >= 0.8
    assert len(found & names) / len(found) >= 0.95
    # What is suggested is what the label was before.
    suggested = dict(suspects.select("document_id", "suggested").iter_rows())
    assert all(suggested[name] == CLASSES[true[int(name[1:])]] for name in found & names)


def test_clean_labels_of_a_good_model_are_left_alone() -> None:
    true = np.arange(400) % 4
    assert len(find_suspects(out_of_fold(true, answers(true, 0.9)))) <= 4


def test_the_most_doubtful_stands_first_with_the_probability_of_what_is_suggested() -> None:
    true = np.arange(80) % 4
    probabilities = np.where(np.eye(4)[true] == 1, 0.91, 0.03)
    probabilities[0], probabilities[40] = [0.04, 0.92, 0.02, 0.02], [0.02, 0.95, 0.02, 0.01]
    rows = find_suspects(out_of_fold(true, probabilities)).rows()
    assert rows == [
        ("d0040", "bread", "rail", pytest.approx(0.95), "validation"),
        ("d0000", "bread", "rail", pytest.approx(0.92), "validation"),
    ]


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.floats(0.01, 1), min_size=4, max_size=4)), max_size=30))
def test_suspects_disagree_with_their_label_and_no_other_list_holds_them(
    rows: list[tuple[int, list[float]]],
) -> None:
    labels = np.array([label for label, _ in rows], dtype=np.int64)
    weights = np.array([row for _, row in rows]).reshape(-1, 4)
    found = out_of_fold(labels, weights / weights.sum(axis=1, keepdims=True))
    suspects = find_suspects(found)
    assert (suspects["given"] != suspects["suggested"]).all()
    rest = least_confident(found, suspects["document_id"].to_list())
    assert {*suspects["document_id"], *rest["document_id"]} == set(found.documents["document_id"])
    assert len(suspects) + len(rest) == len(found.documents)
    assert rest["probability"].is_sorted()
    overlaps = class_overlaps(found)
    assert overlaps["share"].is_between(0, 1).all()
    assert overlaps["documents"].sum() <= len(labels)


def test_the_least_confident_are_few_and_in_the_order_of_their_probability() -> None:
    true = np.arange(300) % 4
    found = out_of_fold(true, answers(true, 0.5))
    table = least_confident(found, ["d0003"])
    assert len(table) == LEAST_CONFIDENT
    assert table["probability"][0] == pytest.approx(np.delete(found.probabilities.max(axis=1), 3).min())
    assert "d0003" not in table["document_id"]


def test_of_one_class_nothing_can_be_said() -> None:
    found = out_of_fold(np.zeros(5, dtype=np.int64), np.full((5, 4), 0.25))
    assert find_suspects(found).is_empty()
    assert class_overlaps(found).is_empty()


def suggestions(labels: np.ndarray, probabilities: np.ndarray) -> list[tuple[object, ...]]:
    table = class_overlaps(out_of_fold(labels, probabilities))
    return table.filter(pl.col("suggestion") != "").select("class", "other", "suggestion").rows()


def test_classes_that_nobody_can_tell_apart_should_be_merged() -> None:
    true = np.arange(400) % 4
    labels = true.copy()
    random = np.random.default_rng(1)
    alike = np.flatnonzero(true < 2)
    labels[alike] = random.integers(0, 2, len(alike))
    assert [{*row[:2], row[2]} for row in suggestions(labels, answers(true, 0.8))] == [{"bread", "rail", "merge"}]


def test_a_class_part_of_which_belongs_to_another_should_be_split() -> None:
    true = np.arange(400) % 4
    labels = true.copy()
    labels[np.flatnonzero(true == 1)[:40]] = 3
    assert suggestions(labels, answers(true, 0.85)) == [("hats", "rail", "split")]


def test_errors_here_and_there_make_no_suggestion() -> None:
    true = np.arange(400) % 4
    labels, _ = flipped(true, 0.1, 0)
    assert suggestions(labels, answers(true, 0.8)) == []


def test_a_document_that_a_person_has_checked_is_neither_doubted_nor_shown_again() -> None:
    true = np.arange(400) % 4
    labels, _ = flipped(true, 0.1, 0)
    found = out_of_fold(labels, answers(true, 0.8))
    metrics, tables = label_problems(found, "folds", [])
    suspects, unsure = (tables[name]["document_id"].to_list() for name in ("label_suspects", "least_confident"))
    assert metrics == {
        "documents": 400,
        "suspects": len(suspects),
        "share": round(len(suspects) / 400, 4),
        "from": "folds",
    }
    checked = [suspects[0], unsure[0], "elsewhere"]
    fewer, after = label_problems(found, "folds", checked)
    assert after["label_suspects"]["document_id"].to_list() == suspects[1:]
    assert not {*after["least_confident"]["document_id"]} & set(checked)
    assert fewer["suspects"] == metrics["suspects"] - 1


def test_what_is_decided_about_a_text_is_decided_about_its_copies() -> None:
    documents = pl.DataFrame({"document_id": ["a", "b", "c"], "text": ["one", "two", "one"]})
    overrides = pl.DataFrame({"document_id": ["a", "elsewhere"]})
    assert checked_documents(documents, overrides) == {"a", "c"}


PARAMS = validate(load(ROOT / "params.yaml")["evaluate"], EvaluateParams, at="evaluate")
DOCUMENTS = pl.DataFrame(
    {
        "document_id": [f"d{place}" for place in range(20)],
        "label": ["bread", "rail"] * 10,
        "group": [f"d{place}" for place in range(20)],
        "side": ["train"] * 16 + ["validation"] * 4,
    }
)
# Two classes that differ in one direction; the first document is on the wrong side.
VECTORS = np.array([[1.0 if place % 2 else -1.0, 0.1 * place] for place in range(20)])
VECTORS[0, 0] = 1.0


def test_without_folds_the_embeddings_doubt_a_label_on_the_wrong_side() -> None:
    empty = pl.DataFrame(schema=COLUMNS[OUT_OF_FOLD.name])
    found, source = probabilities(DOCUMENTS, empty, VECTORS, PARAMS)
    assert source == "embeddings"
    assert found.labels == ["bread", "rail"]
    assert find_suspects(found).select("document_id", "given", "suggested", "side").rows() == [
        ("d0", "bread", "rail", "train")
    ]


def test_with_folds_their_predictions_count_in_whatever_order_they_stand() -> None:
    rows = [[0.9, 0.1], [0.1, 0.9]] * 10
    rows[3] = [0.95, 0.05]
    table = DOCUMENTS.select("document_id", "label", probabilities=pl.Series(rows)).reverse()
    found, source = probabilities(DOCUMENTS, table, VECTORS, PARAMS)
    assert source == "folds"
    assert find_suspects(found)["document_id"].to_list() == ["d3"]
    assert found.answers()["predicted"].to_list()[:4] == ["bread", "rail", "bread", "bread"]


def test_predictions_of_another_run_are_refused() -> None:
    table = DOCUMENTS.select("document_id", "label", probabilities=pl.Series([[0.5, 0.5]] * 20))
    with pytest.raises(UserError, match="no predictions for 'd0'"):
        probabilities(DOCUMENTS, table[1:], VECTORS, PARAMS)
    with pytest.raises(UserError, match="predictions for 'd0', not in this split"):
        probabilities(DOCUMENTS[1:], table, VECTORS[1:], PARAMS)
    relabelled = table.with_columns(label=pl.lit("bread"))
    with pytest.raises(UserError, match="no predictions for 'd1'"):
        probabilities(DOCUMENTS, relabelled, VECTORS, PARAMS)
