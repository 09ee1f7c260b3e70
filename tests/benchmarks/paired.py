"""How much better one way answers than another on the same documents."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from stages.evaluation.intervals import Resampled, compare, resample, weighted_scores

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
    labels = sorted(set().union(*(run[name] for run in runs for name in ("label", one, other))))
    documents = len(runs[0])
    drawn = np.random.default_rng(0).multinomial(documents, np.full(documents, 1 / documents), RESAMPLES)
    weights = np.vstack([np.ones_like(drawn[:1]), drawn])

    def numbers(column: pl.Series) -> np.ndarray:
        return np.array([labels.index(label) for label in column])

    def scored(way: str) -> Resampled:
        each = [weighted_scores(numbers(run["label"]), numbers(run[way]), weights, len(labels)) for run in runs]
        macro_f1, accuracy = np.mean(each, axis=0).T
        return Resampled(documents, float(macro_f1[0]), float(accuracy[0]), macro_f1[1:], accuracy[1:])

    return _in_words(scored(one), scored(other), documents * len(runs))


def _in_words(one: Resampled, other: Resampled, answers: int) -> str:
    found = compare(one, other)
    return (
        f"{one.macro_f1:.4f} - {other.macro_f1:.4f} = {found['macro_f1_difference']:+.4f} "
        f"(95 % interval {found['low']:+.4f} to {found['high']:+.4f}, p {found['p_value']:.4f}; "
        f"{answers} answers on {one.units} documents)"
    )
