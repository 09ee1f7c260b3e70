"""How much better one way answers than another on the same documents."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from stages.evaluation.intervals import Resampled, compare, resample

RESAMPLES = 10_000


def difference(answers: pl.DataFrame, one: str, other: str) -> str:
    """Return both ways' macro F1 of all answers together, their difference and its 95 % bootstrap interval, in words.

    Args:
        answers: `document_id`, `label` and the answers of each way in a column of its name. A document that was asked
            about several times (under several seeds) is drawn with all its answers.
    """
    columns = {name: answers[name].to_list() for name in ("label", one, other)}
    labels = sorted(set().union(*columns.values()))
    asked = {name: columns[name] for name in (one, other)}
    drawn = resample(columns["label"], asked, labels, answers["document_id"].cast(pl.String).to_list(), RESAMPLES, 0)
    return _in_words(drawn[one], drawn[other], len(answers))


def mean_difference(runs: Sequence[pl.DataFrame], one: str, other: str) -> str:
    """Return both ways' mean macro F1 of a run, the difference and its 95 % bootstrap interval, in words.

    That is what one may expect of a single training. `difference` of the same answers is kinder to a way whose runs
    differ much: errors of one run are made up for by another.

    Args:
        runs: of each the answers, as `difference` takes them, to the same documents in the same order. A document is
            drawn with its answers in all runs.
    """
    asked = {f"{way} {place}": run[way].to_list() for way in (one, other) for place, run in enumerate(runs)}
    true, documents = runs[0]["label"].to_list(), runs[0]["document_id"].cast(pl.String).to_list()
    drawn = resample(true, asked, sorted(set(true).union(*asked.values())), documents, RESAMPLES, 0)

    def mean(way: str) -> Resampled:
        return _mean([drawn[f"{way} {place}"] for place in range(len(runs))])

    return _in_words(mean(one), mean(other), len(documents) * len(runs))


def _mean(runs: Sequence[Resampled]) -> Resampled:
    names = ("macro_f1", "accuracy", "macro_f1s", "accuracies")
    return Resampled(runs[0].units, *(np.mean([getattr(run, name) for run in runs], axis=0) for name in names))


def _in_words(one: Resampled, other: Resampled, answers: int) -> str:
    found = compare(one, other)
    return (
        f"{one.macro_f1:.4f} - {other.macro_f1:.4f} = {found['macro_f1_difference']:+.4f} "
        f"(95 % interval {found['low']:+.4f} to {found['high']:+.4f}, p {found['p_value']:.4f}; "
        f"{answers} answers on {one.units} documents)"
    )
