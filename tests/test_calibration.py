"""Temperature scaling and the measures of calibration: by hand, and against labels drawn from known probabilities."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from stages.evaluation.calibration import (
    calibration_scores,
    coverage,
    coverage_at,
    fit_temperature,
    reliability,
    scaled,
)

# Numbers that differ in float32 do so visibly.
logit = st.integers(-2000, 2000).map(lambda number: number / 64)
rows = st.lists(st.tuples(logit, logit, logit, st.integers(0, 2)), min_size=1, max_size=40)


def split(rows: list[tuple[float, float, float, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row[:3] for row in rows], dtype=np.float32), np.array([row[3] for row in rows])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_labels_were_drawn_with_is_found(temperature: float) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(scale=3, size=(4000, 5))
    labels = [random.choice(5, p=shares) for shares in softmax(logits / temperature, axis=1)]
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.06)


@given(rows)
def test_scaling_never_makes_the_log_loss_worse_on_the_documents_it_is_fitted_to(
    rows: list[tuple[float, float, float, int]],
) -> None:
    logits, labels = split(rows)
    temperature = fit_temperature(logits, labels)
    before, after = (-log_softmax(logits / by, axis=1)[np.arange(len(labels)), labels].sum() for by in (1, temperature))
    assert after <= before * (1 + 1e-3) + 1e-6  # it has four digits
    assert math.exp(-3.2) < temperature < math.exp(3.2)


@given(rows, st.floats(0.05, 20))
def test_no_temperature_changes_an_answer(rows: list[tuple[float, float, float, int]], temperature: float) -> None:
    logits, _ = split(rows)
    shares = scaled(logits, temperature)
    assert shares.sum(axis=1) == pytest.approx(1)
    highest = np.take_along_axis(shares, logits.argmax(axis=1)[:, None], axis=1)[:, 0]
    assert np.array_equal(highest, shares.max(axis=1))


def test_a_few_documents_that_are_all_right_do_not_make_the_model_certain() -> None:
    logits = np.log(np.array([[0.9, 0.05, 0.05]]))
    few, many = (fit_temperature(np.repeat(logits, count, axis=0), [0] * count) for count in (19, 1000))
    assert many < few < 1
    assert 0.95 < scaled(logits, few).max() < 0.995


def test_one_document_says_next_to_nothing() -> None:
    assert fit_temperature(np.array([[1.0, 0.0]]), [0]) == pytest.approx(1, abs=0.1)


def test_a_model_that_is_surer_than_right_is_cooled_and_better_calibrated() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(scale=6, size=(600, 4))
    labels = np.array([random.choice(4, p=shares) for shares in softmax(logits / 3, axis=1)])
    temperature = fit_temperature(logits[:300], labels[:300])
    before, after = (calibration_scores(scaled(logits[300:], by), labels[300:]) for by in (1, temperature))
    assert after["ece"] < before["ece"] / 2
    assert after["brier"] < before["brier"]
    assert after["log_loss"] < before["log_loss"]


def test_the_scores_are_those_computed_by_hand() -> None:
    shares = np.array([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.2, 0.5, 0.3]])
    found = calibration_scores(shares, np.array([0, 1, 1]))
    # Two answers of 0.8 of which one is right, one of 0.5 that is.
    assert found["ece"] == pytest.approx((2 * 0.3 + 0.5) / 3, abs=5e-5)
    errors = [0.2**2 + 2 * 0.1**2, 0.8**2 + 0.9**2 + 0.1**2, 0.2**2 + 0.5**2 + 0.3**2]
    assert found["brier"] == pytest.approx(sum(errors) / 3, abs=5e-5)
    assert found["log_loss"] == pytest.approx(-math.log(0.8 * 0.1 * 0.5) / 3, abs=5e-5)


def test_of_two_classes_and_labels_of_one_the_scores_are_the_same_kind() -> None:
    found = calibration_scores(np.array([[0.75, 0.25], [0.75, 0.25]]), np.array([0, 0]))
    assert found == {"ece": 0.25, "brier": 0.125, "log_loss": round(-math.log(0.75), 4)}


def test_a_probability_of_zero_for_the_label_is_a_loss_that_json_can_hold() -> None:
    assert math.isfinite(calibration_scores(np.array([[1.0, 0.0]]), np.array([1]))["log_loss"])


def test_bins_of_confidence_hold_every_document_once() -> None:
    random = np.random.default_rng(0)
    shares, labels = random.dirichlet(np.ones(4), size=500), random.integers(4, size=500)
    table = reliability(shares, labels)
    assert table["documents"].sum() == 500
    assert table["confidence"].is_sorted()
    assert len(table) <= 15
    mean = (table["accuracy"] * table["documents"]).sum() / 500
    assert mean == pytest.approx((shares.argmax(axis=1) == labels).mean())


def test_a_bin_holds_its_upper_border() -> None:
    shares = np.array([[0.6, 0.4], [0.61, 0.39], [1.0, 0.0]])  # 9/15, and two above
    table = reliability(shares, np.array([0, 1, 0]))
    assert table.rows() == [(0.6, 1.0, 1), (0.61, 0.0, 1), (1.0, 1.0, 1)]


def test_below_the_threshold_the_model_abstains() -> None:
    shares = np.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6], [0.5, 0.5]])
    labels = np.array([0, 1, 1, 1])
    assert coverage(shares, labels, (0.0, 0.6, 0.7, 0.95)).rows() == [
        (0.0, 1.0, 0.5),
        (0.6, 0.75, pytest.approx(2 / 3)),
        (0.7, 0.5, 0.5),
        (0.95, 0.0, None),
    ]
    assert coverage_at(shares, labels) == {
        "0.5": {"coverage": 1.0, "accuracy": 0.5},
        "0.7": {"coverage": 0.5, "accuracy": 0.5},
        "0.9": {"coverage": 0.25, "accuracy": 1.0},
    }
