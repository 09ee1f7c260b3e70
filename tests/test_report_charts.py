"""Line charts: axes of round numbers, places within the plot, gaps, tables of the same numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.reporting.charts import Series, line_chart, name_ticks, thin, ticks

finite = st.floats(-1e9, 1e9, allow_nan=False)


@given(finite, finite)
def test_an_axis_encloses_its_values_with_a_few_round_numbers(one: float, other: float) -> None:
    low, high = sorted((one, other))
    found = ticks(low, high)
    slack = 1e-6 * (found[-1] - found[0])
    assert found[0] <= low + slack
    assert found[-1] >= high - slack
    assert 2 <= len(found) <= 7
    step = found[1] - found[0]
    assert found == pytest.approx([found[0] + number * step for number in range(len(found))], abs=slack)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - nice) for nice in (1, 2, 5, 10)) < 1e-3


def test_labels_of_ticks_have_the_digits_they_need() -> None:
    assert name_ticks(ticks(0, 1)) == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert name_ticks(ticks(0, 4800)) == ["0", "1,000", "2,000", "3,000", "4,000", "5,000"]
    assert name_ticks(ticks(-0.3, 0.1)) == ["−0.3", "−0.2", "−0.1", "0.0", "0.1"]  # noqa: RUF001
    assert name_ticks(ticks(0, 3e-5)) == ["0", "1.0e-5", "2.0e-5", "3.0e-5"]


@pytest.mark.parametrize("ends", [(math.nan, 1.0), (0.0, math.inf), (1.0, 0.0)])
def test_what_is_no_range_is_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="no axis"):
        ticks(*ends)


@given(st.lists(st.tuples(finite, finite), min_size=1), st.integers(1, 50))
def test_thinning_keeps_every_value_in_some_mean(points: list[tuple[float, float]], most: int) -> None:
    found, each = thin(points, most)
    assert len(found) <= most
    weights = [len(points[start : start + each]) for start in range(0, len(points), each)]
    for axis in (0, 1):
        means = sum(weight * point[axis] for weight, point in zip(weights, found, strict=True))
        assert means == pytest.approx(sum(point[axis] for point in points), abs=1e-3)


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=30))
def test_everything_is_drawn_within_the_plot(points: list[tuple[float, float]]) -> None:
    chart = line_chart("t", "x", "y", [Series("one", points, dots=True)])
    assert chart is not None
    assert all(0 <= value <= 100 for place in chart.lines[0].dots for value in place)
    assert len(chart.lines[0].dots) == len(points)


def test_places_are_percent_from_the_upper_left() -> None:
    chart = line_chart("t", "x", "y", [Series("one", [(0, 0), (1, 0.5)], [(0, 0.2), (0.4, 1)])], (0, 1), (0, 1))
    assert chart is not None
    assert chart.lines[0].path == "M0.0 100.0L100.0 50.0"
    assert chart.lines[0].area == "M0.0 80.0L100.0 0.0L100.0 60.0L0.0 100.0Z"
    assert [tick.at for tick in chart.y_ticks] == [100, 80, 60, 40, 20, 0]


def test_a_value_that_is_no_number_is_a_gap_and_stands_in_the_table() -> None:
    chart = line_chart("t", "x", "y", [Series("one", [(0, 1), (1, math.nan), (2, 3), (3, 4)])])
    assert chart is not None
    assert chart.lines[0].path.count("M") == 2
    assert chart.rows[1] == ["1", "nan"]


def test_series_of_different_places_share_a_table_and_a_summary() -> None:
    chart = line_chart("t", "step", "loss", [Series("training", [(1, 2), (2, 1.5)]), Series("validation", [(2, 0.25)])])
    assert chart is not None
    assert chart.columns == ["step", "training", "validation"]
    assert chart.rows == [["1", "2", ""], ["2", "1.5", "0.25"]]
    assert chart.summary == "training: from 2 at step 1 to 1.5 at step 2; validation: 0.25 at step 2"


def test_of_nothing_there_is_no_chart() -> None:
    assert line_chart("t", "x", "y", [Series("one", [])]) is None
    assert line_chart("t", "x", "y", [Series("one", [(0, math.nan)])]) is None
