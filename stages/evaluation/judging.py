"""A model beside its baselines on the same documents, against the labels, against gold, and against corrections."""

from collections.abc import Mapping, Sequence

import polars as pl

from stages.evaluation.intervals import compare, intervals, resample
from stages.evaluation.params import EvaluateParams
from stages.evaluation.scores import scores
from stages.files import Metrics
from stages.params.seeds import derive


def judge(
    answers: pl.DataFrame, true: str, baselines: Sequence[str], labels: Sequence[str], params: EvaluateParams
) -> Metrics:
    """Score the model and its baselines, with intervals and a paired test.

    Args:
        answers: a row for each document: `group` (of duplicates), the classes given by `model` and by each of
            `baselines`, and the column that `true` names.
        labels: every class that occurs, and those that count as F1 0 where none does.

    Returns:
        `test` (the model's scores and their `intervals`), `baselines` (scores of each) and `paired` (the difference to
        each, see `stages.evaluation.intervals.compare`).
    """
    given = answers[true].to_list()
    columns = {name: answers[name].to_list() for name in ("model", *baselines)}
    seed = derive(params.seed, "bootstrap")
    drawn = resample(given, columns, labels, answers["group"].to_list(), params.resamples, seed)
    return {
        "test": {**scores(given, columns["model"], labels), "intervals": intervals(drawn["model"])},
        "baselines": {name: scores(given, columns[name], labels) for name in baselines},
        "paired": {name: compare(drawn["model"], drawn[name]) for name in baselines},
    }


def against_gold(
    answers: pl.DataFrame,
    gold: Mapping[str, str],
    baselines: Sequence[str],
    params: EvaluateParams,
) -> Metrics | None:
    """Score model, baselines and labels on the documents with a gold label; None if there are none.

    Macro F1 is over the classes that these documents have, by gold or by their labels, or are given by anybody. A gold
    class that no label has counts as an error of each.

    Args:
        answers: as `judge` takes them, with `document_id` and the labels, `given`.
        gold: document to true class.
    """
    known = answers.with_columns(gold=_map(answers, gold)).drop_nulls("gold")
    if known.is_empty():
        return None
    classes = sorted(set().union(*(known[name] for name in ("gold", "given", "model", *baselines))))
    judged = judge(known, "gold", baselines, classes, params)
    return {
        "documents": len(known),
        "test": judged["test"],
        "baselines": judged["baselines"],
        "labels": scores(known["gold"].to_list(), known["given"].to_list(), classes),
    }


def corrected(answers: pl.DataFrame, before: Mapping[str, str], labels: Sequence[str]) -> Metrics | None:
    """Score the model by the labels as they were before overrides.csv and after it; None if it changed no label.

    Args:
        answers: as `judge` takes them, with `document_id` and the labels, `given`.
        before: document to the label it had, of all documents with a changed label, whatever side they are on.
        labels: every class; old labels of another class count as errors.

    Returns:
        `changed` (how many of these documents had another label) and the scores `before` and `after`.
    """
    if not before:
        return None
    documents, given, model = (answers[name].to_list() for name in ("document_id", "given", "model"))
    old = [before.get(document, label) for document, label in zip(documents, given, strict=True)]
    return {
        "changed": sum(document in before for document in documents),
        "before": scores(old, model, labels),
        "after": scores(given, model, labels),
    }


def _map(answers: pl.DataFrame, classes: Mapping[str, str]) -> pl.Series:
    return pl.Series([classes.get(document) for document in answers["document_id"]], dtype=pl.String)
