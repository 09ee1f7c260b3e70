"""Cross-validation of the model that is trained."""

import logging
import shutil
import statistics
from pathlib import Path

import polars as pl

from stages.evaluation.scores import scores
from stages.files import Metrics, write_parquet
from stages.splitting.folds import make_folds
from stages.training.fitting import Task, fit, probabilities

log = logging.getLogger(__name__)


def cross_validate(task: Task, frame: pl.DataFrame, validation_share: float, checkpoints: Path) -> pl.DataFrame:
    """Predict each document with a model that saw neither it nor its duplicates.

    Args:
        task: what the fits share; its rows are the documents of `frame`, in order.
        frame: `document_id`, `label`, `group`.
        checkpoints: where finished folds are kept as well, so that a run that is killed goes on with the next one.

    Returns:
        The table `out_of_fold.parquet`.
    """
    names = [task.model.config.id2label[number] for number in range(task.model.config.num_labels)]
    tables = []
    for number, fold in enumerate(make_folds(frame, task.params.folds, validation_share, task.params.seed), 1):
        finished = checkpoints / f"fold-{number}.parquet"
        if not finished.is_file():
            fitted = fit(task, fold.train, fold.validation, f"fold {number}", checkpoints / f"fold-{number}")
            found = probabilities(task, fitted.trainer, fold.test)
            table = frame[fold.test].select(
                "document_id",
                "label",
                fold=pl.lit(number, pl.Int64),
                predicted=pl.Series([names[place] for place in found.argmax(axis=1)]),
                probability=pl.Series(found.max(axis=1).astype(float)),
                probabilities=pl.Series(found.astype(float).tolist(), dtype=pl.List(pl.Float64)),
            )
            write_parquet(finished, table)
            shutil.rmtree(checkpoints / f"fold-{number}")
        tables.append(pl.read_parquet(finished))
        score = _macro_f1(tables[-1], names)
        log.info("fold %d of %d: macro F1 %.3f on %d documents", number, task.params.folds, score, len(tables[-1]))
    return pl.concat(tables)


def summarise(out_of_fold: pl.DataFrame, names: list[str]) -> Metrics:
    """Return macro F1 of each fold, their mean and standard deviation (of a sample), and that of all predictions."""
    each = [_macro_f1(table, names) for _, table in sorted(out_of_fold.group_by("fold"))]
    return {
        "folds": len(each),
        "macro_f1": {
            "mean": round(statistics.mean(each), 4),
            "std": round(statistics.stdev(each), 4),
            "pooled": _macro_f1(out_of_fold, names),
            "each": each,
        },
    }


def _macro_f1(table: pl.DataFrame, names: list[str]) -> float:
    return scores(table["label"].to_list(), table["predicted"].to_list(), names)["macro_f1"]
