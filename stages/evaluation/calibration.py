"""Whether probabilities can be taken at their word: temperature scaling, and how to measure it.

Fine-tuned networks are surer than they are right. Dividing their logits by one number, the temperature, mends most of
that and changes no answer (Guo et al. 2017, "On Calibration of Modern Neural Networks",
https://arxiv.org/abs/1706.04599).
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import brier_score_loss, log_loss

# What is known of temperatures before a document is seen: their logarithm is 0, give or take this (normal). A handful
# of documents that are all answered rightly would else ask for temperature 0, that is for certainty. Fitted to 19
# documents of the sample, the mean log loss of six models elsewhere is 1.00 without a temperature, 0.85 with the
# likeliest one, and 0.80 with this (`tests/benchmarks/temperature.py`).
SPREAD = 0.5
# No temperature is looked for beyond e to the power of this, either way.
FURTHEST = 3.0
# Of equal width, as Guo et al. use.
BINS = 15
# Thresholds of the plot; the metrics hold those of COVERAGE.
THRESHOLDS = tuple(step / 20 for step in range(20))
COVERAGE = (0.5, 0.7, 0.9)


def scaled(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities [documents, classes] (float64) of logits divided by `temperature`."""
    found: np.ndarray = softmax(logits.astype(np.float64) / temperature, axis=1)
    return found


def fit_temperature(logits: np.ndarray, labels: Sequence[int] | np.ndarray) -> float:
    """Return the temperature of the lowest log loss on documents that were not learned from, with 4 digits.

    The maximum a posteriori of Guo et al.'s model, whose prior (SPREAD) weighs as much as a few documents: among
    hundreds it does not show.

    Args:
        logits: [documents, classes], or logarithms of probabilities.
        labels: [documents] class numbers.
    """
    documents = np.arange(len(logits))

    def cost(log_temperature: float) -> float:
        likely = log_softmax(logits.astype(np.float64) / np.exp(log_temperature), axis=1)
        return float(-likely[documents, labels].sum() + (log_temperature / SPREAD) ** 2 / 2)

    # The cost need not have one valley alone: look at the whole range before going down.
    grid = np.linspace(-FURTHEST, FURTHEST, 61)
    lowest = grid[np.argmin([cost(place) for place in grid])]
    step = grid[1] - grid[0]
    found = minimize_scalar(cost, bounds=(lowest - step, lowest + step), method="bounded", options={"xatol": 1e-7})
    return round(float(np.exp(found.x)), 4)


def calibration_scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return `ece`, `brier` and `log_loss`; of each, lower is better.

    ECE, the expected calibration error (Naeini et al. 2015; Guo et al. 2017, equation 3), is the mean distance between
    confidence and accuracy over bins of 1/15, weighted by documents. On few documents it is above 0 even for perfect
    probabilities. The Brier score (Brier 1950, "Verification of Forecasts Expressed in Terms of Probability") is the
    mean over documents of the squared errors summed over classes, 0 to 2.

    Args:
        probabilities: [documents, classes].
        labels: [documents] class numbers.
    """
    table = reliability(probabilities, labels)
    distance = (table["confidence"] - table["accuracy"]).abs()
    classes = range(probabilities.shape[1])
    return {
        "ece": round(float((distance * table["documents"]).sum() / len(labels)), 4),
        "brier": round(float(brier_score_loss(labels, probabilities, labels=classes, scale_by_half=False)), 4),
        "log_loss": round(float(log_loss(labels, probabilities, labels=classes)), 4),
    }


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> pl.DataFrame:
    """Return `confidence`, `accuracy` (means) and `documents` of each bin of confidence that is not empty.

    Args:
        probabilities: [documents, classes]; the confidence is the highest.
        labels: [documents] class numbers.
    """
    # Bins are open below and closed above, as in Guo et al.: (0, 1/15], (1/15, 2/15] …
    confidence = probabilities.max(axis=1).astype(np.float64)
    bins = np.minimum(np.ceil(confidence * BINS), BINS)
    frame = pl.DataFrame({"bin": bins, "confidence": confidence, "right": probabilities.argmax(axis=1) == labels})
    means = frame.group_by("bin").agg(
        pl.col("confidence").mean(), accuracy=pl.col("right").mean(), documents=pl.len().cast(pl.Int64)
    )
    return means.sort("bin").drop("bin")


def coverage_at(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, float | None]]:
    """Return `coverage` and `accuracy` (0 to 1, null where nothing is answered) at three thresholds, see `coverage`."""
    return {
        str(threshold): {
            "coverage": round(share, 4),
            "accuracy": None if accuracy is None else round(accuracy, 4),
        }
        for threshold, share, accuracy in coverage(probabilities, labels, COVERAGE).iter_rows()
    }


def coverage(probabilities: np.ndarray, labels: np.ndarray, thresholds: Sequence[float] = THRESHOLDS) -> pl.DataFrame:
    """Return what share is answered, and how well, if the model abstains below a threshold.

    Selective classification (El-Yaniv & Wiener 2010) by the highest probability (Geifman & El-Yaniv 2017).

    Args:
        probabilities: [documents, classes].
        labels: [documents] class numbers.

    Returns:
        `threshold`, `coverage` (share of documents with a probability of it or above), `accuracy` on those (null where
        there are none).
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    rows = []
    for threshold in thresholds:
        answered = confidence >= threshold
        accuracy = float(right[answered].mean()) if answered.any() else None
        rows.append((threshold, float(answered.mean()), accuracy))
    schema = {"threshold": pl.Float64, "coverage": pl.Float64, "accuracy": pl.Float64}
    return pl.DataFrame(rows, schema, orient="row")
