"""Stage 3: categories become classes; small ones are joined or dropped, corrections by hand applied.

Where categories.csv names no categories, the annotator's own names are compared, and a whole new classes.csv that
merges those spelt alike or close in meaning is proposed in metrics/; no label changes until the user copies it.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from stages.classes.merging import OTHER, contradictions, name_classes, rare_classes, spell
from stages.classes.names import normal
from stages.classes.params import MergeClassesParams
from stages.classes.proposals import propose_merges, proposed_classes
from stages.corpus.csvs import read_csv, some
from stages.corpus.duplicates import groups_of
from stages.corpus.tables import ANNOTATIONS, CLASSES, DOCUMENTS, LABELS, read_table, scan_table, write_table
from stages.files import Metrics, write_csv, write_json
from stages.params import read_corpus, read_section
from stages.runtime.command import run
from stages.runtime.errors import UserError

log = logging.getLogger(__name__)

PROPOSED = Path("metrics/merge_classes/proposed_classes.csv")


@dataclass(frozen=True)
class Merged:
    """The labels, the mapping as applied, and every decision on the way."""

    labels: pl.DataFrame
    classes: pl.DataFrame
    decisions: Metrics


def merge_classes(
    annotations: pl.DataFrame,
    groups: dict[str, str],
    classes: pl.DataFrame,
    overrides: pl.DataFrame,
    params: MergeClassesParams,
) -> Merged:
    """Turn annotated categories into the labels to learn.

    In this order: classes.csv maps categories to classes, overrides replace them (for a document and its
    exact duplicates), duplicates that contradict each other are left out, small classes are joined to
    `other` or dropped.

    Args:
        annotations: the annotations table.
        groups: each document of the corpus to the first of its exact duplicates.
        classes: rows of classes.csv.
        overrides: rows of overrides.csv; those of documents without a row in `annotations` (unknown, or
            not readable) are counted and left out.

    Returns:
        Labels of the documents that have one, and `category`, `label` (null: dropped) for each category.
    """
    given = dict(annotations.filter(pl.col("status") == "ok").select("document_id", "category").iter_rows())
    class_of = name_classes(given.values(), dict(classes.select("category", "class").iter_rows()))
    labels = {document: class_of[category] for document, category in given.items()}

    spelling = spell(class_of.values(), overrides["class"])
    corrections = {
        document: spelling[normal(name)] for document, name in overrides.select("document_id", "class").iter_rows()
    }
    usable = set(annotations["document_id"])
    applied = {document: name for document, name in corrections.items() if document in usable}
    by_group = {groups[document]: name for document, name in applied.items()}
    before = dict(labels)
    labels = {document: by_group.get(groups[document], label) for document, label in labels.items()} | applied

    disputed = contradictions(labels, groups)
    left_out = {document for group in disputed for document in group}
    labels = {document: label for document, label in labels.items() if document not in left_out}

    other = spelling.get(OTHER, OTHER) if params.rare == "other" else None
    small = rare_classes(labels, groups, params.min_count)
    rare = {name: size for name, size in small.items() if name != other}
    final = dict.fromkeys(rare, other)
    kept = {document: final.get(label, label) for document, label in labels.items()}
    decisions = {
        "documents": sum(label is not None for label in kept.values()),
        "classes": _count(label for label in kept.values() if label is not None),
        "categories": _count(given.values()),
        "mapped": {category: name for category, name in class_of.items() if category != name},
        "rare": {"joined" if params.rare == "other" else "dropped": rare, "min_count": params.min_count},
        "overrides": {
            "applied": len(applied),
            "changed": sum(before.get(document) != name for document, name in applied.items()),
            "new_classes": sorted(set(applied.values()) - set(class_of.values())),
            "unknown_documents": sorted(set(corrections) - set(applied)),
        },
        "contradicting_duplicates": disputed,
    }
    order = sorted(document for document, label in kept.items() if label is not None)
    return Merged(
        labels=pl.DataFrame(
            {
                "document_id": order,
                "category": pl.Series([given.get(document) for document in order], dtype=pl.String),
                "label": pl.Series([kept[document] for document in order], dtype=pl.String),
            },
        ),
        classes=pl.DataFrame(
            [(category, final.get(name, name)) for category, name in class_of.items()],
            schema={"category": pl.String, "label": pl.String},
            orient="row",
        ),
        decisions=decisions,
    )


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(pl.Series(list(names), dtype=pl.String).value_counts().sort("").iter_rows())


def main() -> None:
    """Merge the categories of data/annotated/ into data/merged/ and metrics/merge_classes*."""
    params, corpus = read_section("merge_classes", MergeClassesParams), read_corpus()
    classes, overrides = read_csv(corpus, "classes.csv"), read_csv(corpus, "overrides.csv")
    closed = not read_csv(corpus, "categories.csv").is_empty()
    annotations, groups = read_table(ANNOTATIONS), groups_of(scan_table(DOCUMENTS))
    merged = merge_classes(annotations, groups, classes, overrides, params)
    corrected, disputed = merged.decisions["overrides"], merged.decisions["contradicting_duplicates"]
    if corrected["unknown_documents"]:
        log.warning(
            "%s: unknown or unreadable documents: %s", corpus / "overrides.csv", some(corrected["unknown_documents"])
        )
    if corrected["new_classes"]:
        log.warning("%s: classes nothing else has: %s", corpus / "overrides.csv", some(corrected["new_classes"]))
    for group in disputed:
        log.warning("left out: the same document under different labels: %s", some(group))
    rare = merged.decisions["rare"]
    for fate, what in (("joined", "joined into 'other'"), ("dropped", "left out")):
        if small := rare.get(fate):
            sizes = ", ".join(f"{name!r} ({size})" for name, size in small.items())
            log.warning("%s, as fewer than merge_classes.min_count (%d) documents: %s", what, rare["min_count"], sizes)
    if merged.labels.is_empty():
        raise UserError("merge_classes: no document is left: lower merge_classes.min_count or set rare to other")

    given = annotations.filter(pl.col("status") == "ok")["category"].to_list()
    mapping = dict(classes.select("category", "class").iter_rows())
    # Categories on a list are kept apart on purpose.
    merges = {} if closed else propose_merges(given, mapping, params.similarity)
    write_table(merged.labels, LABELS)
    write_table(merged.classes, CLASSES)
    write_json(Path("metrics/merge_classes.json"), merged.decisions)
    for when, counts in (("before", merged.decisions["categories"]), ("after", merged.decisions["classes"])):
        frame = pl.DataFrame({"class": list(counts), "documents": list(counts.values())})
        write_csv(Path(f"metrics/merge_classes/{when}.csv"), frame)
    write_csv(PROPOSED, proposed_classes(given, mapping, merges))
    log.info(
        "merge_classes: %d documents in %d classes", merged.decisions["documents"], len(merged.decisions["classes"])
    )
    if merges:
        log.info(
            "merge_classes: %d names could be merged into %d classes: %s; copy it to %s and edit it",
            len(merges),
            len(set(merges.values())),
            PROPOSED,
            corpus / "classes.csv",
        )


if __name__ == "__main__":
    run(main)
