"""Cross-validation: which documents each fold is tested on, and chosen by."""

from collections import defaultdict
from dataclasses import dataclass

import polars as pl

from stages.params.seeds import derive, rank
from stages.runtime.errors import UserError


@dataclass(frozen=True)
class Fold:
    """Places of documents: learned from, the best epoch chosen by, and predicted."""

    train: list[int]
    validation: list[int]
    test: list[int]


def groups_by_class(frame: pl.DataFrame) -> dict[str, dict[str, list[int]]]:
    """Return for each class its groups of duplicates, and for each group the places of its documents.

    A group whose documents have different labels counts to the class of the first.

    Args:
        frame: `label`, `group`.
    """
    by_class: defaultdict[str, dict[str, list[int]]] = defaultdict(dict)
    label_of: dict[str, str] = {}
    for place, (label, group) in enumerate(frame.select("label", "group").iter_rows()):
        by_class[label_of.setdefault(group, label)].setdefault(group, []).append(place)
    return dict(by_class)


def assign_folds(frame: pl.DataFrame, folds: int, seed: int) -> tuple[list[int], list[float]]:
    """Divide documents into `folds` parts, stratified by class, duplicates in one part.

    In each class the groups stand in a seeded order that depends on their names alone, as on a circle; a part is one
    arc of it. One more document thus moves at most border cases.

    Args:
        frame: `label`, `group`.

    Returns:
        For each document its part, 0 to `folds` - 1, and where on its circle it stands, 0 to below 1.
    """
    order = derive(seed, "folds")
    part, angle = [0] * len(frame), [0.0] * len(frame)
    for groups in groups_by_class(frame).values():
        for position, name in enumerate(sorted(groups, key=lambda name: rank(order, "group", name))):
            for place in groups[name]:
                # In whole numbers, so that rounding cannot put a document into two folds or none.
                part[place] = (2 * position + 1) * folds // (2 * len(groups))
                angle[place] = (position + 0.5) / len(groups)
    return part, angle


def make_folds(frame: pl.DataFrame, folds: int, validation_share: float, seed: int) -> list[Fold]:
    """Return each fold of the parts that `assign_folds` makes.

    A fold is tested on one arc of each class's circle, its best epoch is chosen by the next, and it learns from the
    rest.

    Args:
        frame: `label`, `group`.
        validation_share: of the documents that are not tested on, the share to choose by.

    Raises:
        UserError: if there are more folds than the largest class has groups, nothing is left to choose by, or nothing
            of a second class to learn from.
    """
    if folds > (most := max(map(len, groups_by_class(frame).values()))):
        raise UserError(f"train.folds: {folds} is more than the {most} distinct documents of the largest class")
    tested, angle = assign_folds(frame, folds, seed)
    chosen = validation_share * (1 - 1 / folds)
    made = []
    for fold in range(folds):
        test = [place for place, own in enumerate(tested) if own == fold]
        rest = [place for place, own in enumerate(tested) if own != fold]
        validation = [place for place in rest if (angle[place] - (fold + 1) / folds) % 1 < chosen]
        if not validation or len(validation) == len(rest):
            raise UserError(f"train.folds: of {len(rest)} documents beside fold {fold + 1} none are left to choose by")
        train = sorted({*rest} - {*validation})
        if len(learned := set(frame["label"][train])) < 2:
            raise UserError(
                f"train.folds: beside fold {fold + 1} and what is chosen by, only {learned.pop()!r} is left to learn "
                "from: label more of the other classes, or set 0"
            )
        made.append(Fold(train, validation, test))
    return made


def nested_subset(frame: pl.DataFrame, places: list[int], share: float, seed: int) -> list[int]:
    """Take a share of the documents at `places`, of each class alike, whole groups of duplicates.

    In each class the groups stand in a seeded order of their own; the first are taken until they hold the share (at
    least one group is). So a smaller share lies within a larger one, and one more document moves border cases alone.

    Args:
        frame: `label`, `group`.
        share: above 0 to 1.

    Returns:
        Those places, sorted.
    """
    order = derive(seed, "learning curve")
    taken: list[int] = []
    for groups in groups_by_class(frame[places]).values():
        wanted = share * sum(map(len, groups.values()))
        mine: list[int] = []
        for name in sorted(groups, key=lambda name: rank(order, "group", name)):
            if len(mine) >= wanted:
                break
            mine += groups[name]
        taken += mine
    return sorted(places[place] for place in taken)
