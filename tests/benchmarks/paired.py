"""How much better one way answers than another on the same documents."""

import polars as pl

from stages.evaluation.intervals import compare, resample

RESAMPLES = 10_000


def difference(answers: pl.DataFrame, one: str, other: str) -> str:
    """Return both ways' macro F1, their difference and its 95 % bootstrap interval, in words.

    Args:
        answers: `document_id`, `label` and the answers of each way in a column of its name. A document that was asked
            about several times (under several seeds) is drawn with all its answers.
    """
    columns = {name: answers[name].to_list() for name in ("label", one, other)}
    labels = sorted(set().union(*columns.values()))
    asked = {name: columns[name] for name in (one, other)}
    drawn = resample(columns["label"], asked, labels, answers["document_id"].cast(pl.String).to_list(), RESAMPLES, 0)
    found = compare(drawn[one], drawn[other])
    return (
        f"{drawn[one].macro_f1:.4f} - {drawn[other].macro_f1:.4f} = {found['macro_f1_difference']:+.4f} "
        f"(95 % interval {found['low']:+.4f} to {found['high']:+.4f}, p {found['p_value']:.4f}; "
        f"{len(answers)} answers on {drawn[one].units} documents)"
    )
