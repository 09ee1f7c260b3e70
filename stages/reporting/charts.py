"""Line charts: from numbers to places in a plot, which the template draws as SVG.

No plotting library: a chart here is a few paths and labels, and drawn by the page itself they follow its colours (light
and dark), keep their type size on a phone, and can be read by a screen reader. Places are in percent of the plot's
width and height, from the upper left corner.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# A line of more points than this is drawn through means of equally many neighbours.
MOST_POINTS = 240

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Values to draw. `band` holds the low and high end of an interval at each point; `dots` marks the points."""

    name: str
    points: Sequence[Point]
    band: Sequence[Point] = ()
    dots: bool = False


@dataclass(frozen=True)
class Tick:
    """A line of the grid and its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Line:
    """A series as SVG path data in a box of 100 x 100, and the places of its dots."""

    name: str
    path: str
    area: str
    dots: list[Point]


@dataclass(frozen=True)
class Chart:
    """A line chart with everything that its template needs: what is drawn, what is said, the numbers as a table."""

    title: str
    summary: str
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]
    columns: list[str]
    rows: list[list[str]]
    diagonal: bool = False
    hint: str = ""
    note: str = ""


@dataclass(frozen=True)
class Axes:
    """The ticks of both axes, in the units of the values; the first and the last are their ends."""

    x: list[float]
    y: list[float]

    def place(self, x: float, y: float) -> Point:
        """Return where a point lies, in percent of the plot."""
        across = (x - self.x[0]) / (self.x[-1] - self.x[0])
        down = (self.y[-1] - y) / (self.y[-1] - self.y[0])
        return round(100 * across, 2), round(100 * down, 2)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return at most `most` + 1 round values that enclose `low` to `high`: multiples of 1, 2 or 5 times a power of ten.

    Raises:
        ValueError: if one of them is no finite number or `low` is above `high`.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"no axis from {low} to {high}")
    if high - low < max(1e-12, 1e-9 * max(abs(low), abs(high))):
        middle = (low + high) / 2
        low, high = (middle - abs(middle) / 2, middle + abs(middle) / 2) if abs(middle) > 1e-12 else (0.0, 1.0)
    least = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def name_ticks(values: Sequence[float]) -> list[str]:
    """Return labels with as many digits as tell neighbours apart."""
    step = values[1] - values[0]
    if step < 0.001 or step >= 1e7:
        return [f"{value:.1e}".replace("e-0", "e-") if value else "0" for value in values]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value + 0.0:,.{digits}f}".replace("-", "\u2212") for value in values]


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> tuple[list[Point], int]:
    """Return at most `most` points, each the mean of as many neighbours (the last maybe of fewer), and of how many."""
    each = max(1, math.ceil(len(points) / most))
    groups = [points[start : start + each] for start in range(0, len(points), each)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups], each


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    x_range: Point | None = None,
    y_range: Point | None = None,
    diagonal: bool = False,
    hint: str = "",
) -> Chart | None:
    """Lay out a line chart; None if there is nothing to draw.

    Args:
        x_range, y_range: of the axes, where the values alone do not say it (0 to 1 for shares).
        diagonal: draw the line on which both values are equal.
        hint: what to look for.
    """
    thinned = [(one, *thin(one.points)) for one in series if one.points]
    values = [(x, y) for _, points, _ in thinned for x, y in points if math.isfinite(y)]
    if not values:
        return None
    heights = [y for _, y in values] + [end for one in series for pair in one.band for end in pair]
    axes = Axes(
        ticks(*(x_range or (min(x for x, _ in values), max(x for x, _ in values)))),
        ticks(*(y_range or (min(heights), max(heights)))),
    )
    coarsest = max(each for _, _, each in thinned)
    return Chart(
        title=title,
        summary="; ".join(_describe(one, x_label) for one in series if one.points),
        x_label=x_label,
        y_label=y_label,
        x_ticks=[Tick(axes.place(x, 0)[0], name) for x, name in zip(axes.x, name_ticks(axes.x), strict=True)],
        y_ticks=[Tick(axes.place(0, y)[1], name) for y, name in zip(axes.y, name_ticks(axes.y), strict=True)],
        lines=[_draw(one, points, axes) for one, points, _ in thinned],
        columns=[x_label, *(one.name for one, _, _ in thinned)],
        rows=_tabulate([points for _, points, _ in thinned]),
        diagonal=diagonal,
        hint=hint,
        note=f"Each point is the mean of {coarsest} neighbouring values." if coarsest > 1 else "",
    )


def _draw(series: Series, points: Sequence[Point], axes: Axes) -> Line:
    """Return the line through `points`, interrupted where a value is no number."""
    parts, drawing = [], False
    for x, y in points:
        if math.isfinite(y):
            parts.append("{}{} {}".format("L" if drawing else "M", *axes.place(x, y)))
        drawing = math.isfinite(y)
    area = ""
    if series.band:
        xs = [x for x, _ in series.points]
        upper = [axes.place(x, high) for x, (_, high) in zip(xs, series.band, strict=True)]
        lower = [axes.place(x, low) for x, (low, _) in zip(xs, series.band, strict=True)]
        area = "M" + "L".join(f"{x} {y}" for x, y in [*upper, *reversed(lower)]) + "Z"
    marked = series.dots or len(points) == 1
    dots = [axes.place(x, y) for x, y in points if marked and math.isfinite(y)]
    return Line(series.name, "".join(parts), area, dots)


def _describe(series: Series, x_label: str) -> str:
    (first_x, first_y), (last_x, last_y) = series.points[0], series.points[-1]
    if len(series.points) == 1:
        return f"{series.name}: {number(first_y)} at {x_label} {number(first_x)}"
    return (
        f"{series.name}: from {number(first_y)} at {x_label} {number(first_x)} "
        f"to {number(last_y)} at {x_label} {number(last_x)}"
    )


def _tabulate(all_points: Sequence[Sequence[Point]]) -> list[list[str]]:
    columns = [dict(points) for points in all_points]
    places = sorted({x for column in columns for x in column})
    return [[number(x), *(number(column[x]) if x in column else "" for column in columns)] for x in places]


def number(value: float) -> str:
    """Return a number as people write it: whole, or with four significant digits."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}"
