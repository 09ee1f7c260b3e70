"""Cross-validation of the model that is trained."""

import logging
import shutil
import statistics
from dataclasses import replace
from pathlib import Path

import polars as pl

from stages.evaluation.scores import scores
from stages.files import Metrics, write_parquet
from stages.splitting.folds import Fold, make_folds, nested_subset
from stages.training.fitting import Task, fit, probabilities

log = logging.getLogger(__name__)

# Of a fold's training documents.
WHOLE = 1.0
SHARES = (0.25, 0.5, 0.75, WHOLE)


def cross_validate(task: Task, frame: pl.DataFrame, validation_share: float, checkpoints: Path) -> pl.DataFrame:
    """Predict each document with a model that saw neither it nor its duplicates.

    With `train.learning_curve` also with models that learned from a part of the same documents: of each class the
    same share, the smaller within the larger. Their best epoch is chosen by the same documents, too, so that a step of
    the curve is what more to learn from is worth and nothing else.

    Args:
        task: what the fits share; its rows are the documents of `frame`, in order.
        frame: `document_id`, `label`, `group`.
        checkpoints: where finished folds are kept as well, so that a run that is killed goes on with the next one.

    Returns:
        The columns of `out_of_fold.parquet` and of `learning_curve.parquet`; rows of share 1 are the cross-validation.
    """
    params = task.params
    tables = []
    for number, fold in enumerate(make_folds(frame, params.folds, validation_share, params.seed), 1):
        for share in SHARES if params.learning_curve else (WHOLE,):
            name = f"fold-{number}" if share == WHOLE else f"fold-{number}-share-{share}"
            part = replace(fold, train=nested_subset(frame, fold.train, share, params.seed))
            table = _predict(task, frame, part, name, checkpoints).with_columns(
                share=pl.lit(share), fold=pl.lit(number, pl.Int64), documents=pl.lit(len(part.train), pl.Int64)
            )
            tables.append(table)
            log.info(
                "fold %d of %d%s: macro F1 %.3f on %d documents",
                number,
                params.folds,
                "" if share == WHOLE else f", {share:.0%} of its training documents ({len(part.train)})",
                _macro_f1(table),
                len(table),
            )
    return pl.concat(tables)


def _predict(task: Task, frame: pl.DataFrame, fold: Fold, name: str, checkpoints: Path) -> pl.DataFrame:
    """Fit a model to a fold and predict its test documents, or return what an earlier run has kept of that."""
    finished = checkpoints / f"{name}.parquet"
    if not finished.is_file():
        fitted = fit(task, fold.train, fold.validation, name.replace("-", " "), checkpoints / name)
        found = probabilities(task, fitted.trainer, fold.test)
        table = frame[fold.test].select(
            "document_id",
            "label",
            predicted=pl.Series([class_names(task)[place] for place in found.argmax(axis=1)]),
            probability=pl.Series(found.max(axis=1).astype(float)),
            probabilities=pl.Series(found.astype(float).tolist(), dtype=pl.List(pl.Float64)),
        )
        write_parquet(finished, table)
        shutil.rmtree(checkpoints / name)
    return pl.read_parquet(finished)


def class_names(task: Task) -> list[str]:
    """Return the classes in the order of the model's logits."""
    return [task.model.config.id2label[number] for number in range(task.model.config.num_labels)]


def summarise(out_of_fold: pl.DataFrame) -> Metrics:
    """Return macro F1 of each fold, their mean and standard deviation (of a sample), and that of all predictions.

    A fold's is over the classes that its documents have or are given: of a rare class not every fold has any.
    """
    each = [_macro_f1(table) for _, table in sorted(out_of_fold.group_by("fold"))]
    return {
        "folds": len(each),
        "macro_f1": {
            "mean": round(statistics.mean(each), 4),
            "std": round(statistics.stdev(each), 4),
            "pooled": _macro_f1(out_of_fold),
            "each": each,
        },
    }


def _macro_f1(table: pl.DataFrame) -> float:
    given, predicted = table["label"].to_list(), table["predicted"].to_list()
    return scores(given, predicted, sorted({*given, *predicted}))["macro_f1"]
