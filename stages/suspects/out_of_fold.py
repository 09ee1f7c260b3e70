"""Where out-of-fold probabilities come from: the cross-validation of train, or that of the frozen embeddings."""

from dataclasses import replace

import numpy as np
import polars as pl

from stages.corpus.csvs import some
from stages.corpus.tables import OUT_OF_FOLD
from stages.evaluation.baselines import out_of_fold_embeddings
from stages.evaluation.calibration import fit_temperature
from stages.evaluation.params import EvaluateParams
from stages.evaluation.vectors import embed
from stages.runtime.errors import UserError
from stages.suspects.doubts import OutOfFold, logarithm


def out_of_fold(
    documents: pl.DataFrame, folds: pl.DataFrame, params: EvaluateParams, device: str
) -> tuple[OutOfFold, str]:
    """Return the out-of-fold probabilities there are, and where they come from: `folds`, or else `embeddings`.

    Args:
        documents: `document_id`, `text`, `label`, `group`, `side` of train and validation.
        folds: the table `out_of_fold.parquet`, empty without `train.folds`.
        device: where the embedding model runs.

    Raises:
        UserError: if `folds` is of other documents.
    """
    if folds.is_empty():
        return from_embeddings(documents, params, device), "embeddings"
    return from_folds(documents, folds), "folds"


def from_folds(documents: pl.DataFrame, table: pl.DataFrame) -> OutOfFold:
    """Take the predictions of `train.folds`.

    Args:
        documents: `document_id`, `label`, `side` of train and validation.
        table: the table `out_of_fold.parquet` of the same documents.

    Raises:
        UserError: if it is of others.
    """
    predictions = table.select("document_id", "probabilities")
    joined = documents.join(predictions, on="document_id", how="left", maintain_order="left")
    if missing := joined.filter(pl.col("probabilities").is_null())["document_id"].to_list():
        raise UserError(f"{OUT_OF_FOLD}: no predictions for {some(missing)}: `dvc repro` makes them")
    return _calibrated(joined, np.array(joined["probabilities"].to_list(), dtype=np.float64))


def from_embeddings(documents: pl.DataFrame, params: EvaluateParams, device: str) -> OutOfFold:
    """Cross-validate the baseline of frozen embeddings: seconds, whatever model is trained.

    Args:
        documents: `document_id`, `text`, `label`, `group`, `side` of train and validation.
        device: where the embedding model runs.
    """
    vectors = embed(documents["text"].to_list(), params.embeddings.max_tokens, device)
    return _calibrated(documents, out_of_fold_embeddings(documents, vectors, params.embeddings.C, params.seed))


def _calibrated(documents: pl.DataFrame, probabilities: np.ndarray) -> OutOfFold:
    """Fit a temperature to these predictions: their models are others than the one that is kept."""
    found = OutOfFold(documents.select("document_id", "label", "side"), probabilities, sorted(set(documents["label"])))
    return replace(found, temperature=fit_temperature(logarithm(probabilities), found.given()))
