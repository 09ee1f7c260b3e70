"""How much better one way answers than another on the same documents."""

import numpy as np
import polars as pl
from sklearn.metrics import f1_score

RESAMPLINGS = 2000


def macro_f1(answers: pl.DataFrame, name: str) -> float:
    """Return macro F1 of all answers of way `name` together."""
    return float(f1_score(answers["label"].to_numpy(), answers[name].to_numpy(), average="macro"))


def difference(answers: pl.DataFrame, one: str, other: str) -> str:
    """Return both scores, their difference and its 95 % bootstrap interval, in words.

    Args:
        answers: `document_id`, `label` and the answers of each way in a column of its name. A document that was asked
            about several times (under several seeds) is resampled with all its answers.
    """
    random = np.random.default_rng(0)
    by_document = answers.with_row_index().group_by("document_id", maintain_order=True).agg("index")["index"].to_list()
    labels = sorted(set(answers["label"]))
    true = answers["label"].to_numpy()
    differences = []
    for _ in range(RESAMPLINGS):
        drawn = random.integers(len(by_document), size=len(by_document))
        places = np.concatenate([by_document[place] for place in drawn])
        first, second = (
            f1_score(true[places], answers[name].to_numpy()[places], labels=labels, average="macro", zero_division=0)
            for name in (one, other)
        )
        differences.append(first - second)
    low, high = np.quantile(differences, [0.025, 0.975])
    first, second = (macro_f1(answers, name) for name in (one, other))
    return (
        f"{first:.4f} - {second:.4f} = {first - second:+.4f} (95 % interval {low:+.4f} to {high:+.4f}; "
        f"{len(answers)} answers on {len(by_document)} documents)"
    )
