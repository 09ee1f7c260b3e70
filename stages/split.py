"""Stage 4: train, validation and test; stratified, stable, duplicates never on two sides."""

import logging
from pathlib import Path

import polars as pl

from stages.corpus.csvs import read_csv
from stages.corpus.duplicates import first_of_each, groups_of
from stages.corpus.tables import DOCUMENTS, LABELS, SPLIT, read_table, read_texts, scan_table, write_table
from stages.files import Metrics, write_json
from stages.params import read_corpus, read_section
from stages.runtime.command import run
from stages.runtime.progress import progress
from stages.splitting.assign import SIDES, assign
from stages.splitting.near_duplicates import near_duplicates
from stages.splitting.params import SplitParams

log = logging.getLogger(__name__)


def split(
    documents: pl.LazyFrame, labels: pl.DataFrame, gold: list[str], examples: list[str], params: SplitParams
) -> tuple[pl.DataFrame, Metrics]:
    """Put each labelled document on a side.

    Args:
        documents: the documents table; texts of labelled documents are read from it a few at a time.
        labels: the labels table.
        gold: documents with a gold label.
        examples: documents shown to the annotator as examples.

    Returns:
        `document_id`, `label`, `group` (a name that exact and near duplicates share), `side`, and the metrics.

    Raises:
        UserError: if a class is too small for three sides.
    """
    exact = groups_of(documents)
    wanted = dict(labels.select("document_id", "label").iter_rows())
    labelled = {exact[name] for name in wanted}
    shown = {exact[name] for name in examples if name in exact}
    originals = labelled | shown
    texts = progress(read_texts(documents, originals), total=len(originals), what="split", delay=5)
    near = near_duplicates(texts, params.near_duplicate)
    first = {name: group[0] for group in near for name in group}
    like = {name: first.get(exact[name], exact[name]) for name in wanted}
    groups = first_of_each([[like[name]] for name in wanted], list(wanted))
    # Examples without a label are on no side themselves.
    shown = {first.get(name, name) for name in shown}
    held = {name for name in wanted if like[name] in shown}
    sides = assign(wanted, groups, params, gold, held)

    table = labels.select(
        "document_id",
        label="label",
        group=pl.col("document_id").replace_strict(groups, return_dtype=pl.String),
        side=pl.col("document_id").replace_strict(sides, return_dtype=pl.String),
    )
    counts = table.group_by("label", "side").len()
    per_class = {
        label: {side: counts.filter(label=label, side=side)["len"].sum() for side in SIDES}
        for label in sorted(set(table["label"]))
    }
    metrics: dict[str, object] = {
        **{side: len(table.filter(side=side)) for side in SIDES},
        "gold_in_test": len(set(table.filter(side="test")["document_id"]) & set(gold)),
        "exact_duplicates": sum(exact[name] != name for name in wanted),
        # As groups: the pairs of a thousand copies would be half a million.
        "near_duplicates": [kept for group in near if len(kept := [name for name in group if name in labelled]) > 1],
        "classes": per_class,
    }
    return table, metrics


def with_texts(table: pl.DataFrame, documents: pl.LazyFrame) -> pl.DataFrame:
    """Add the column `text` of the documents table to the rows of `table`."""
    names = table.select("document_id").lazy()
    texts = documents.select("document_id", "text").join(names, on="document_id", how="semi").collect()
    return table.join(texts, on="document_id", how="left", maintain_order="left")


def main() -> None:
    """Split data/merged/ into data/split/ and metrics/split.json."""
    params, corpus = read_section("split", SplitParams), read_corpus()
    gold, examples = (read_csv(corpus, name)["document_id"].to_list() for name in ("gold.csv", "examples.csv"))
    documents = scan_table(DOCUMENTS)
    table, metrics = split(documents, read_table(LABELS), gold, examples, params)
    for side in SIDES:
        write_table(with_texts(table.filter(side=side), documents), SPLIT / f"{side}.parquet")
    write_json(Path("metrics/split.json"), metrics)
    log.info("split: %s", ", ".join(f"{metrics[side]} {side}" for side in SIDES))


if __name__ == "__main__":
    run(main)
