"""Documents that are the same: groups of equal bytes or equal text."""

from collections.abc import Collection, Mapping

import polars as pl
from scipy.cluster.hierarchy import DisjointSet


def groups_of(documents: pl.DataFrame | pl.LazyFrame) -> dict[str, str]:
    """Map each document to the first of its group of exact duplicates (itself if it has none).

    Args:
        documents: `document_id` and `duplicate_of` (null unless the status is `duplicate`); no other column is read.
    """
    return {
        document_id: original if original is not None else document_id
        for document_id, original in documents.lazy().select("document_id", "duplicate_of").collect().iter_rows()
    }


def with_duplicates(names: Collection[str], groups: Mapping[str, str]) -> set[str]:
    """Return `names` and every document that is the same as one of them.

    Args:
        groups: document to the first of its exact duplicates; names it lacks are left out.
    """
    wanted = {groups[name] for name in names if name in groups}
    return {document for document, first in groups.items() if first in wanted}


def first_of_each(keys: list[list[str]], names: list[str]) -> dict[str, str]:
    """Map each name to the first (in sort order) of those it shares a key with, directly or by others.

    Args:
        keys: the keys of each name, in the order of `names`; an empty key is shared with nobody.
    """
    sets: DisjointSet = DisjointSet(names)
    owner: dict[str, str] = {}
    for name, own in zip(names, keys, strict=True):
        for key in own:
            if key:
                sets.merge(name, owner.setdefault(key, name))
    return {name: min(group) for group in sets.subsets() for name in group}
