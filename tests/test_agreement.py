"""How well an annotator agrees with people, and what is counted."""

import polars as pl
import pytest

from stages.annotate import Annotated, measure
from stages.annotators.agreement import agreement
from stages.files import Metrics
from tests.small_annotating import by_document

NO_EXAMPLES = by_document({})


def measured(annotations: pl.DataFrame, gold: pl.DataFrame) -> Metrics:
    return measure(Annotated(annotations, pl.DataFrame(), {}), gold, NO_EXAMPLES)


def answers(given_: dict[str, str | None], *, status: str = "ok") -> pl.DataFrame:
    """Make an annotations table; a document without a category has status `skipped`."""
    return pl.DataFrame(
        {
            "document_id": list(given_),
            "category": pl.Series(list(given_.values()), dtype=pl.String),
            "status": ["skipped" if category is None else status for category in given_.values()],
            "error": pl.Series([None] * len(given_), dtype=pl.String),
        }
    )


def test_accuracy_and_kappa_are_those_computed_by_hand() -> None:
    """7 of 10 agree; by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5 would; (0.7 - 0.5) / (1 - 0.5) = 0.4."""
    pairs = ["aa"] * 4 + ["ab"] + ["ba"] * 2 + ["bb"] * 3
    given_ = answers({f"d{place}": pair[0] for place, pair in enumerate(pairs)})
    gold = by_document({f"d{place}": pair[1] for place, pair in enumerate(pairs)})
    assert agreement(given_, gold, NO_EXAMPLES) == {
        "documents": 10,
        "accuracy": 0.7,
        "kappa": 0.4,
        "per_category": {"a": {"documents": 6, "agree": 0.6667}, "b": {"documents": 4, "agree": 0.75}},
    }


def test_kappa_is_null_where_there_is_one_category_only() -> None:
    found = agreement(answers({"d1": "a", "d2": "a"}), by_document({"d1": "a", "d2": "A"}), NO_EXAMPLES)
    assert (found["accuracy"], found["kappa"]) == (1.0, None)


def test_kappa_is_zero_for_an_annotator_with_one_answer() -> None:
    found = agreement(answers({"d1": "a", "d2": "a"}), by_document({"d1": "a", "d2": "b"}), NO_EXAMPLES)
    assert (found["accuracy"], found["kappa"]) == (0.5, 0.0)


def test_examples_are_left_out_of_the_comparison() -> None:
    given_ = answers({"d1": "a", "d2": "b", "d3": "a"})
    found = agreement(given_, by_document({"d1": "a", "d2": "b", "d3": "b"}), by_document({"d3": "b"}))
    assert (found["documents"], found["accuracy"], found["kappa"]) == (2, 1.0, 1.0)


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_documents_without_an_answer_are_left_out_of_the_comparison(status: str) -> None:
    given_ = pl.concat([answers({"d1": "a"}), answers({"d2": "b"}, status=status), answers({"d3": None})])
    assert agreement(given_, by_document({"d1": "a", "d2": "a", "d3": "a"}), NO_EXAMPLES)["documents"] == 1


def test_case_and_spaces_are_forgiven_in_the_comparison() -> None:
    found = agreement(answers({"d1": "Sea  Ice"}), by_document({"d1": " sea ice"}), NO_EXAMPLES)
    assert found["accuracy"] == 1.0


def test_without_a_document_in_common_nothing_is_claimed() -> None:
    given_ = answers({"d1": "a"})
    assert agreement(given_, by_document({"d2": "a"}), NO_EXAMPLES) == {"documents": 0}
    metrics = measured(given_, by_document({}))
    assert metrics["compared_with_gold"] == 0
    assert "kappa" not in metrics
    assert "accuracy" not in metrics


def test_documents_are_counted_by_status_and_category() -> None:
    given_ = pl.concat([answers({"d1": "b", "d2": "a", "d3": "b", "d4": None}), answers({"d5": None})])
    fails = pl.col("document_id") == "d5"
    given_ = given_.with_columns(
        status=pl.when(fails).then(pl.lit("failed")).otherwise("status"),
        error=pl.when(fails).then(pl.lit("refusal: 'no'")),
    )
    metrics = measured(given_, by_document({"d1": "b"}))
    assert (metrics["documents"], metrics["annotated"], metrics["failed"], metrics["skipped"]) == (5, 3, 1, 1)
    assert metrics["failed_by"] == {"refusal": 1}
    assert list(metrics["categories"].items()) == [("a", 1), ("b", 2)]
