"""Where out-of-fold probabilities come from: the cross-validation of train, or that of the frozen embeddings."""

from dataclasses import replace

import numpy as np
import polars as pl

from stages.corpus.csvs import some
from stages.corpus.tables import OUT_OF_FOLD
from stages.evaluation.baselines import out_of_fold_embeddings
from stages.evaluation.calibration import fit_temperature, scaled
from stages.evaluation.params import EvaluateParams
from stages.runtime.errors import UserError
from stages.suspects.doubts import OutOfFold

# Below any probability that says something: the logarithm of 0 is none.
SMALLEST = 1e-12


def out_of_fold(
    documents: pl.DataFrame, folds: pl.DataFrame, vectors: np.ndarray, params: EvaluateParams
) -> tuple[OutOfFold, str]:
    """Return the out-of-fold probabilities there are, and where they come from: `folds`, or else `embeddings`.

    Args:
        documents: `document_id`, `label`, `group`, `side` of train and validation.
        folds: the table `out_of_fold.parquet`, empty without `train.folds`.
        vectors: [documents, dimensions] embeddings of the same documents.

    Raises:
        UserError: if `folds` is of other documents or labels.
    """
    if folds.is_empty():
        return from_embeddings(documents, vectors, params), "embeddings"
    return from_folds(documents, folds), "folds"


def from_folds(documents: pl.DataFrame, table: pl.DataFrame) -> OutOfFold:
    """Take the predictions of `train.folds`.

    Args:
        documents: `document_id`, `label`, `side` of train and validation.
        table: the table `out_of_fold.parquet` of the same documents.

    Raises:
        UserError: if it is of others, or of other labels.
    """
    predictions = table.select("document_id", "label", "probabilities")
    joined = documents.join(predictions, on=["document_id", "label"], how="left", maintain_order="left")
    if missing := joined.filter(pl.col("probabilities").is_null())["document_id"].to_list():
        raise UserError(f"{OUT_OF_FOLD}: no predictions for {some(missing)} with this label: `dvc repro` makes them")
    if others := sorted(set(table["document_id"]) - set(documents["document_id"])):
        raise UserError(f"{OUT_OF_FOLD}: predictions for {some(others)}, not in this split: `dvc repro` makes others")
    return _calibrated(joined, np.array(joined["probabilities"].to_list(), dtype=np.float64))


def from_embeddings(documents: pl.DataFrame, vectors: np.ndarray, params: EvaluateParams) -> OutOfFold:
    """Cross-validate the baseline of frozen embeddings: seconds, whatever model is trained.

    Args:
        documents: `document_id`, `label`, `group`, `side` of train and validation.
        vectors: [documents, dimensions] embeddings of the same documents.
    """
    return _calibrated(documents, out_of_fold_embeddings(documents, vectors, params.embeddings.C, params.seed))


def _calibrated(documents: pl.DataFrame, probabilities: np.ndarray) -> OutOfFold:
    """Scale by a temperature fitted to these predictions: their models are others than the one that is kept.

    A logistic regression of a few documents a class is far less sure than it could be (temperature 0.2 on the sample):
    unscaled, hardly any document reaches the bar of `find_suspects`.
    """
    found = OutOfFold(documents.select("document_id", "label", "side"), probabilities, sorted(set(documents["label"])))
    logits = np.log(np.maximum(probabilities, SMALLEST))
    return replace(found, probabilities=scaled(logits, fit_temperature(logits, found.given())))
