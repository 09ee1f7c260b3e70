"""Assigning groups of documents to sides, stratified by class and stable under additions."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import Literal

from stages.params.seeds import derive, rank
from stages.runtime.errors import UserError
from stages.splitting.params import SplitParams

Side = Literal["train", "validation", "test"]
SIDES: tuple[Side, ...] = ("train", "validation", "test")


def assign(
    labels: Mapping[str, str],
    groups: Mapping[str, str],
    params: SplitParams,
    gold: Collection[str] = (),
    examples: Collection[str] = (),
) -> dict[str, Side]:
    """Give every document a side; documents of one group share it.

    In each class the groups stand in a seeded random order that depends on their names alone; the first
    fill the test set, the next the validation set, to `test_size` and `validation_size` of the class's
    documents (at least one group each). One more document thus moves at most a border case.

    Args:
        labels: document to label.
        groups: document to the name of its group (exact and near duplicates).
        gold: documents with a gold label; with `gold_in_test` they are first in line for the test set.
        examples: few-shot examples; they and their duplicates are always on the training side.

    Raises:
        UserError: with fewer than two classes, or a class with too few groups for all three sides.
    """
    members: defaultdict[str, list[str]] = defaultdict(list)
    for document in sorted(labels):
        members[groups[document]].append(document)
    by_class: defaultdict[str, list[str]] = defaultdict(list)
    for group, documents in members.items():
        count = Counter(labels[document] for document in documents)
        by_class[min(count, key=lambda label: (-count[label], label))].append(group)
    classes = sorted(set(labels.values()))
    if len(classes) < 2:
        raise UserError(
            f"split: all documents are in one class ({', '.join(classes)!r}): a classifier needs two "
            "(categories of fewer documents than merge_classes.min_count become one class)"
        )

    order = derive(params.seed, "split")
    shares: dict[Side, float] = {"test": params.test_size, "validation": params.validation_size}
    for_examples = {groups[document] for document in examples if document in groups}
    for_gold = {groups[document] for document in gold if document in groups} if params.gold_in_test else set()
    sides: dict[str, Side] = dict.fromkeys(members, "train")
    for label in classes:
        names = by_class[label]
        free = sorted(
            (name for name in names if name not in for_examples),
            key=lambda name: (name not in for_gold, rank(order, "group", name)),
        )
        if len(free) < 2 or len(names) < 3:
            raise UserError(
                f"split: class {label!r} has {len(names)} distinct documents ({len(names) - len(free)} of them "
                "few-shot examples): train, validation and test need one each. Label more of it, correct its "
                "label, merge it with another class in classes.csv, or leave it out: merge_classes.rare: drop "
                "with a min_count above its size"
            )
        total = sum(len(members[name]) for name in names)
        spare = len(free) - (1 if len(free) == len(names) else 0)
        for side, share in shares.items():
            wanted, taken = max(1, round(share * total)), 0
            reserve = 1 if side == "test" else 0
            while taken < wanted and spare > reserve:
                group = free.pop(0)
                sides[group] = side
                taken += len(members[group])
                spare -= 1
    return {document: sides[groups[document]] for document in sorted(labels)}
