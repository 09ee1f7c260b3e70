"""The scores of a classifier."""

from collections.abc import Sequence

from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support


def scores(true: Sequence[object], predicted: Sequence[object], labels: Sequence[object]) -> dict[str, float]:
    """Return `macro_f1` (over `labels`), `weighted_f1` and `accuracy`, 0 to 1.

    A class that is neither given nor predicted counts as F1 0 in the macro mean.
    """
    return {
        "macro_f1": round(float(f1_score(true, predicted, labels=labels, average="macro", zero_division=0)), 4),
        "weighted_f1": round(float(f1_score(true, predicted, labels=labels, average="weighted", zero_division=0)), 4),
        "accuracy": round(float(accuracy_score(true, predicted)), 4),
    }


def per_class(true: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return `precision`, `recall`, `f1` and `support` (documents) of each class."""
    columns = precision_recall_fscore_support(true, predicted, labels=labels, zero_division=0)
    return {
        label: {
            "precision": round(float(precision), 4),
            "recall": round(float(recall), 4),
            "f1": round(float(f1), 4),
            "support": int(support),
        }
        for label, precision, recall, f1, support in zip(labels, *columns, strict=True)
    }
