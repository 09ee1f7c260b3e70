"""Cross-validation: which documents each fold is tested on, and chosen by."""

import logging
import shutil
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from stages.evaluation.scores import scores
from stages.files import Metrics, write_parquet
from stages.params.seeds import derive, rank
from stages.runtime.errors import UserError
from stages.training.fitting import Task, fit, probabilities

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fold:
    """Places of documents: learned from, the best epoch chosen by, and predicted."""

    train: list[int]
    validation: list[int]
    test: list[int]


def make_folds(frame: pl.DataFrame, folds: int, validation_share: float, seed: int) -> Iterator[Fold]:
    """Divide documents into `folds` parts, stratified by class, duplicates in one part; yield each fold in turn.

    In each class the groups stand in a seeded order that depends on their names alone, as on a circle. A fold is
    tested on one arc of it, its best epoch is chosen by the next, and it learns from the rest. One more document
    thus moves at most border cases.

    Args:
        frame: `label`, `group`.
        validation_share: of the documents that are not tested on, the share to choose by.

    Raises:
        UserError: if there are more folds than the largest class has groups, or nothing is left to choose by.
    """
    by_class: defaultdict[str, dict[str, list[int]]] = defaultdict(dict)
    label_of: dict[str, str] = {}
    for place, (label, group) in enumerate(frame.select("label", "group").iter_rows()):
        by_class[label_of.setdefault(group, label)].setdefault(group, []).append(place)
    if folds > (most := max(len(groups) for groups in by_class.values())):
        raise UserError(f"train.folds: {folds} is more than the {most} distinct documents of the largest class")

    order = derive(seed, "folds")
    tested, angle = [0] * len(frame), [0.0] * len(frame)
    for groups in by_class.values():
        for position, name in enumerate(sorted(groups, key=lambda name: rank(order, "group", name))):
            for place in groups[name]:
                # In whole numbers, so that rounding cannot put a document into two folds or none.
                tested[place] = (2 * position + 1) * folds // (2 * len(groups))
                angle[place] = (position + 0.5) / len(groups)
    chosen = validation_share * (1 - 1 / folds)
    for fold in range(folds):
        test = [place for place, own in enumerate(tested) if own == fold]
        rest = [place for place, own in enumerate(tested) if own != fold]
        validation = [place for place in rest if (angle[place] - (fold + 1) / folds) % 1 < chosen]
        if not validation or len(validation) == len(rest):
            raise UserError(f"train.folds: of {len(rest)} documents beside fold {fold + 1} none are left to choose by")
        yield Fold(sorted({*rest} - {*validation}), validation, test)


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
