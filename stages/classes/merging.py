"""The rules by which categories become classes, one function each; the stage applies them in order."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from stages.classes.names import normal
from stages.runtime.errors import UserError

OTHER = "other"


def spell(*sources: Iterable[str]) -> dict[str, str]:
    """Choose the spelling of each name, by its normal form: the commonest in the first source that has it."""
    chosen: dict[str, str] = {}
    for source in sources:
        count = Counter(" ".join(name.split()) for name in source)
        for name in sorted(count, key=lambda name: (-count[name], name)):
            chosen.setdefault(normal(name), name)
    return chosen


def name_classes(categories: Iterable[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Give each spelling of a category its class: that of `mapping`, or the category itself.

    Args:
        categories: as annotated, one for each document, so that the commonest spelling is known.
        mapping: the rows of classes.csv.

    Returns:
        A class for each spelling in `categories` and `mapping`. Of spellings that differ in case and
        spaces alone, classes.csv decides which one names the class, else the commonest.

    Raises:
        UserError: if two rows of `mapping` give one category different classes.
    """
    given = list(categories)
    target: dict[str, str] = {}
    for category, name in mapping.items():
        if normal(target.setdefault(normal(category), name)) != normal(name):
            raise UserError(
                f"classes.csv: category {category!r} stands there twice (case and spaces make no difference) "
                "with different classes: keep one row of it"
            )
    spelling = spell(mapping.values(), given)
    every = sorted({*given, *mapping})
    return {category: spelling[normal(target.get(normal(category), category))] for category in every}


def contradictions(labels: Mapping[str, str], groups: Mapping[str, str]) -> list[list[str]]:
    """Return the groups of exact duplicates that carry different labels, each sorted.

    Args:
        labels: document to label.
        groups: document to the first of its group.
    """
    members: defaultdict[str, list[str]] = defaultdict(list)
    for document in labels:
        members[groups[document]].append(document)
    return [sorted(names) for _, names in sorted(members.items()) if len({labels[name] for name in names}) > 1]


def rare_classes(labels: Mapping[str, str], groups: Mapping[str, str], min_count: int) -> dict[str, int]:
    """Return the classes with fewer than `min_count` documents, duplicates counted once, and their sizes."""
    size = Counter(label for _, label in {(groups[document], label) for document, label in labels.items()})
    return {name: size[name] for name in sorted(size) if size[name] < min_count}
