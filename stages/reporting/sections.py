"""The sections of the report: from what was read to what each of them shows, and what it lacks."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from stages.evaluation.names import FEW, name_baseline
from stages.reporting.charts import Chart, Point, Series, line_chart
from stages.reporting.facts import about_data, about_origin, about_packages, about_training
from stages.reporting.metrics import Evaluate, Scores
from stages.reporting.sources import CHARACTERS, SHOWN, Row, Sources
from stages.reporting.verdicts import explain, interval, summarise

# A matrix of more classes than this is no picture any more; the pairs that are confused are listed instead.
MOST_CLASSES = 30
MOST_PAIRS = 8
UNIT = (0.0, 1.0)


@dataclass(frozen=True)
class Missing:
    """Something that is not there, and the command that makes it."""

    what: str
    command: str


@dataclass(frozen=True)
class Section:
    """A section of the page. `template` is the file that shows `view`."""

    key: str
    title: str
    view: dict[str, Any]
    missing: list[Missing] = field(default_factory=list)

    @property
    def template(self) -> str:
        """Return the template's file name."""
        return f"{self.key}.html.j2"


@dataclass(frozen=True)
class Bar:
    """A row of the picture of scores: a value of 0 to 1, its interval if it has one, and a remark."""

    name: str
    value: float
    low: float | None
    high: float | None
    kind: str
    remark: str = ""


def build(sources: Sources) -> list[Section]:
    """Return the sections in the order of the page."""
    return [part(sources) for part in (_scores, _classes, _confidence, _training, _errors, _labels, _data, _origin)]


def _scores(sources: Sources) -> Section:
    found = sources.evaluate
    if found is None:
        return Section("scores", "How good it is", {}, [Missing("scores", "dvc repro")])
    view: dict[str, Any] = {
        "said": summarise(found),
        "bars": list(_bars(found)),
        "found": found,
        "table": list(_score_rows(found)),
        "few": found.documents.test if found.documents.test < FEW else 0,
    }
    missing = []
    if found.gold is None:
        missing.append(Missing("a comparison with labels by people (gold.csv)", "python -m stages.review --gold 200"))
    return Section("scores", "How good it is", view, missing)


def _bars(found: Evaluate) -> Iterator[Bar]:
    yield _bar("this classifier", found.test, "model")
    for key, scores in found.baselines.items():
        remark = explain(found.paired[key]) if key in found.paired else ""
        yield Bar(name_baseline(key), scores.macro_f1, None, None, "baseline", remark)
    if found.gold:
        yield _bar("this classifier, against gold", found.gold.test, "gold")


def _bar(name: str, scores: Scores, kind: str) -> Bar:
    if scores.intervals is None:
        return Bar(name, scores.macro_f1, None, None, kind)
    ends = scores.intervals.macro_f1
    return Bar(name, scores.macro_f1, ends.low, ends.high, kind, f"95 % interval {interval(ends)}")


def _score_rows(found: Evaluate) -> Iterator[tuple[str, Scores]]:
    yield "this classifier", found.test
    for key, scores in found.baselines.items():
        yield name_baseline(key), scores
    if found.train:
        yield "this classifier, on its training documents", found.train
    if found.gold:
        yield "this classifier, against gold", found.gold.test
        for key, scores in found.gold.baselines.items():
            yield f"{name_baseline(key)}, against gold", scores
        if found.gold.labels:
            yield "the labels it learned from, against gold", found.gold.labels
    if found.overrides:
        others = f"{found.overrides.changed:,} others"
        yield f"this classifier, by the labels before overrides.csv ({others})", found.overrides.before


def _classes(sources: Sources) -> Section:
    view: dict[str, Any] = {}
    if sources.evaluate is None:
        return Section("classes", "Each class", view, [Missing("scores of classes", "dvc repro")])
    view["rows"] = sorted(sources.evaluate.per_class.items(), key=lambda item: (item[1].f1, item[0]))
    if (pairs := sources.tables.get("evaluate/confusion.csv")) is None:
        return Section("classes", "Each class", view, [Missing("confusion matrix", "dvc repro")])
    count = Counter((row["actual"], row["predicted"]) for row in pairs)
    names = sorted({*sources.evaluate.per_class, *(name for pair in count for name in pair)})
    wrong = sorted(((-times, *pair) for pair, times in count.items() if pair[0] != pair[1]))
    view["pairs"] = [(actual, predicted, -times) for times, actual, predicted in wrong[:MOST_PAIRS]]
    view["matrix"] = _matrix(names, count) if len(names) <= MOST_CLASSES else None
    view["names"] = names
    return Section("classes", "Each class", view)


def _matrix(names: list[str], count: Counter[tuple[str, str]]) -> list[tuple[str, list[tuple[int, float]]]]:
    """Return for each actual class the documents predicted as each class, and their share of the row."""
    rows = []
    for actual in names:
        row = [count[actual, predicted] for predicted in names]
        rows.append((actual, [(times, times / (sum(row) or 1)) for times in row]))
    return rows


def _confidence(sources: Sources) -> Section:
    title = "How far to trust its probabilities"
    bins, steps = (sources.tables.get(f"evaluate/{name}.csv") for name in ("reliability", "coverage"))
    view = {
        "calibration": sources.evaluate.calibration if sources.evaluate else None,
        "charts": _drawn(_reliability(bins or []), _coverage(steps or [])),
    }
    missing = [Missing(what, "dvc repro") for what, rows in (("reliability", bins), ("coverage", steps)) if not rows]
    return Section("confidence", title, view, missing)


def _reliability(rows: list[Row]) -> Chart | None:
    names = {"after": "as predict gives them", "before": "before scaling"}
    return line_chart(
        "Reliability",
        "probability the classifier gives",
        "share that is right",
        [Series(names[scaling], _points(rows, "confidence", "accuracy", scaling), dots=True) for scaling in names],
        UNIT,
        UNIT,
        diagonal=True,
        hint="On the diagonal, 80 % means that 8 of 10 are right; below it, the classifier is too sure of itself.",
    )


def _points(rows: list[Row], x: str, y: str, scaling: str = "") -> list[Point]:
    return sorted((row[x], row[y]) for row in rows if not scaling or row["scaling"] == scaling)


def _coverage(rows: list[Row]) -> Chart | None:
    return line_chart(
        "Answering only when it is sure",
        "least probability to answer at",
        "share",
        [
            Series("of the answers, right", _points(rows, "threshold", "accuracy")),
            Series("of the documents, answered", _points(rows, "threshold", "coverage")),
        ],
        UNIT,
        UNIT,
        hint="What a threshold of `python -m stages.predict --threshold` costs in answers and gains in right ones.",
    )


def _training(sources: Sources) -> Section:
    curves = sources.curves

    def chart(title: str, y_label: str, names: dict[str, str], y_range: Point | None = None) -> Chart | None:
        found = {name: curves[key] for key, name in names.items() if key in curves}
        series = [Series(name, points, dots=len(points) <= 30) for name, points in found.items()]
        return line_chart(title, "step", y_label, series, y_range=y_range)

    charts = _drawn(
        chart("Loss", "loss", {"train/loss": "training", "validation/loss": "validation"}),
        chart(
            "Scores on validation",
            "score",
            {
                "validation/macro_f1": "macro F1",
                "validation/weighted_f1": "weighted F1",
                "validation/accuracy": "accuracy",
            },
            y_range=UNIT,
        ),
        chart("Learning rate", "learning rate", {"train/learning_rate": "learning rate"}),
        _learning_curve(sources.tables.get("evaluate/learning_curve.csv") or []),
    )
    missing = []
    if sources.train is None or not curves:
        missing.append(Missing("training history", "dvc repro"))
    if not sources.tables.get("evaluate/learning_curve.csv"):
        command = "dvc exp run -S train.folds=5 -S train.learning_curve=true"
        missing.append(Missing("learning curve, which tells what more documents would be worth", command))
    return Section("training", "Training", {"charts": charts, "facts": about_training(sources)}, missing)


def _learning_curve(rows: list[Row]) -> Chart | None:
    rows = sorted(rows, key=lambda row: row["documents"])
    points = [(row["documents"], row["macro_f1"]) for row in rows]
    return line_chart(
        "Learning curve",
        "training documents",
        "macro F1",
        [Series("macro F1", points, [(row["low"], row["high"]) for row in rows], dots=True)],
        (0.0, max((x for x, _ in points), default=1.0)),
        hint="Still rising at its end: more labelled documents help. Flat: better labels or another model do.",
    )


def _drawn(*charts: Chart | None) -> list[Chart]:
    return [chart for chart in charts if chart]


def _errors(sources: Sources) -> Section:
    title, name = "What it gets wrong", "evaluate/errors.csv"
    if (rows := sources.tables.get(name)) is None:
        return Section("errors", title, {}, [Missing("errors", "dvc repro")])
    shown = rows[: SHOWN[name]]
    missing = []
    if any(row["document_id"] not in sources.texts for row in shown):
        missing.append(Missing("text of some of these documents", "dvc checkout"))
    view = {"documents": [_document(row, sources) for row in shown], "total": len(rows)}
    return Section("errors", title, view, missing)


def _document(row: Row, sources: Sources) -> dict[str, Any]:
    """Return a row with the beginning of its document's text."""
    text = sources.texts.get(row["document_id"])
    return {**row, "text": text and text[:CHARACTERS], "cut": len(text or "") > CHARACTERS}


def _labels(sources: Sources) -> Section:
    suspects, overlaps, doubtful = (
        sources.tables.get(f"evaluate/{name}.csv") for name in ("label_suspects", "class_overlaps", "least_confident")
    )
    view = {
        "found": sources.evaluate.label_suspects if sources.evaluate else None,
        "suspects": [_document(row, sources) for row in (suspects or [])[: SHOWN["evaluate/label_suspects.csv"]]],
        "looked": suspects is not None,
        "total": len(suspects or []),
        "overlaps": (overlaps or [])[:MOST_PAIRS],
        "doubtful": (doubtful or [])[:MOST_PAIRS],
        "folds": bool(
            sources.evaluate and sources.evaluate.label_suspects and sources.evaluate.label_suspects.source == "folds"
        ),
    }
    missing = [Missing("label suspects", "dvc repro")] if suspects is None else []
    return Section("labels", "Labels to look at again", view, missing)


def _data(sources: Sources) -> Section:
    mapped = sorted(sources.merge_classes.mapped.items()) if sources.merge_classes else []
    view = {
        "facts": about_data(sources),
        "statuses": [(status, count) for status, count in sources.extract.status.items() if count]
        if sources.extract
        else [],
        "lengths": [(row["tokens"].strip(), row["documents"]) for row in sources.tables.get("extract/lengths.csv", [])],
        "split": sources.split,
        "mapped": mapped[:MOST_PAIRS],
        "more_mapped": len(mapped[MOST_PAIRS:]),
    }
    stages = {"extracted documents": sources.extract, "labels": sources.annotate, "split": sources.split}
    missing = [Missing(what, "dvc repro") for what, found in stages.items() if found is None]
    return Section("data", "Documents and labels", view, missing)


def _origin(sources: Sources) -> Section:
    view = {
        "facts": about_origin(sources),
        "packages": about_packages(sources),
        "params": sources.params_text,
        "hashes": sources.hashes,
    }
    missing = [] if sources.provenance else [Missing("versions of packages", "dvc repro")]
    return Section("origin", "How it was made", view, missing)
