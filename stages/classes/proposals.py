"""Merges proposed to the user: names of classes that are spelt alike or mean nearly the same."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl

from stages.classes.merging import name_classes, spell
from stages.classes.names import normal

# All that the bundled model reads; no name is longer.
WINDOW_TOKENS = 256
# Hyphens and dashes of Unicode too, which language models write.
JOINTS = re.compile(r"[\s\u2010-\u2015-]")


def propose_merges(categories: Iterable[str], mapping: Mapping[str, str], threshold: float) -> dict[str, str]:
    """Propose merges among the classes as they stand after classes.csv.

    Args:
        categories: as annotated, one for each document.
        mapping: the rows of classes.csv.
        threshold: see `similar_names`.

    Returns:
        As `similar_names`.
    """
    given = list(categories)
    class_of = name_classes(given, mapping)
    documents = dict(sorted(Counter(class_of[category] for category in given).items()))
    return similar_names(documents, name_similarities(list(documents)), threshold) if len(documents) > 1 else {}


def name_similarities(names: list[str]) -> np.ndarray:
    """Compare names by what they mean: cosine similarity of sentence embeddings (Reimers & Gurevych, 2019).

    Names that differ in case, spaces and hyphens alone have 1, whatever the model makes of them.

    Returns:
        A matrix (names x names, float32) with values from -1 to 1.
    """
    from stages.backbone.bundled import verified_bundled_folder
    from stages.embeddings import Embedder

    # The CPU, since embeddings from a GPU differ in their rounding, and the names are few.
    embedder = Embedder(verified_bundled_folder(), WINDOW_TOKENS, "cpu")
    vectors = np.stack([embedder.embed(name) for name in names])
    letters = np.array([JOINTS.sub("", normal(name)) for name in names])
    similarity: np.ndarray = np.where(letters[:, None] == letters, 1, vectors @ vectors.T)
    return similarity


def similar_names(documents: Mapping[str, int], similarity: np.ndarray, threshold: float) -> dict[str, str]:
    """Group names by average linkage (UPGMA; Sokal & Michener, 1958): their mean similarity is above `threshold`.

    Args:
        documents: two or more names and the number of documents of each.
        similarity: names x names in that order, at most 1.
        threshold: at or below it two groups stay apart; at 1 all do.

    Returns:
        The name of its group for each name in a group of two or more: the one with the most documents, the first
        of them in the alphabet.
    """
    from sklearn.cluster import AgglomerativeClustering

    clustering = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=1 - threshold
    )
    # Rounding takes the cosine of a vector with itself above 1.
    group_of = clustering.fit_predict(np.clip(1 - similarity.astype(np.float64), 0, None)).tolist()
    size = Counter(group_of)
    best: dict[int, str] = {}
    for name, group in sorted(zip(documents, group_of, strict=True), key=lambda pair: (-documents[pair[0]], pair[0])):
        best.setdefault(group, name)
    return {name: best[group] for name, group in zip(documents, group_of, strict=True) if size[group] > 1}


def proposed_classes(categories: Iterable[str], mapping: Mapping[str, str], merges: Mapping[str, str]) -> pl.DataFrame:
    """Write `merges` as a whole classes.csv: the rows of the present one with their classes merged, and the new ones.

    It is whole because classes.csv is followed one step: a category that it maps to a class which is now merged
    needs the new class in its own row.

    Args:
        categories: as annotated, one for each document.
        mapping: the rows of classes.csv.
        merges: a class as it stands after classes.csv to the one it is to be part of; with itself for the latter.

    Returns:
        `category`, `class`, `documents` (annotated with the category), by class, then the commonest category first;
        no rows without `merges`.
    """
    given = list(categories)
    class_of = {normal(category): name for category, name in name_classes(given, mapping).items()}
    documents = Counter(normal(category) for category in given)
    present = {normal(category) for category in mapping}
    rows = [
        (category, merges.get(class_of[key], class_of[key]), documents[key])
        for key, category in spell(mapping, given).items()
        if merges and (key in present or class_of[key] in merges)
    ]
    return pl.DataFrame(
        sorted(rows, key=lambda row: (row[1], -row[2], row[0])),
        schema={"category": pl.String, "class": pl.String, "documents": pl.Int64},
        orient="row",
    )
