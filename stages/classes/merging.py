"""The rules by which categories become classes, one function each; the stage applies them in order."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from stages.classes.names import normal

OTHER = "other"


def name_classes(categories: Iterable[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Give each spelling of a category its class: that of `mapping`, or the category itself.

    Args:
        categories: as annotated, one for each document, so that the commonest spelling is known.
        mapping: the rows of classes.csv.

    Returns:
        A class for each spelling in `categories` and `mapping`. Of spellings that differ in case and
        spaces alone, classes.csv decides which one names the class, else the commonest.
    """
    count = Counter(categories)
    target = {normal(category): name for category, name in mapping.items()}
    candidates = [*mapping.values(), *sorted(count, key=lambda name: (-count[name], name))]
    spelling: dict[str, str] = {}
    for name in candidates:
        spelling.setdefault(normal(name), " ".join(name.split()))
    every = sorted({*count, *mapping})
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
    return {name: size[name] for name in sorted(size) if size[name] < min_count and name != OTHER}
