"""Stage 2: a category for every document, from the provider that params.yaml names."""

import logging
from pathlib import Path

import polars as pl

from stages.annotators.agreement import agreement
from stages.annotators.params import AnnotateParams
from stages.annotators.sampling import sample
from stages.classes.names import normal
from stages.corpus.csvs import read_csv, some
from stages.corpus.duplicates import groups_of, with_duplicates
from stages.corpus.tables import ANNOTATIONS, DOCUMENTS, read_table, write_table
from stages.files import Metrics, write_json
from stages.params import read_corpus, read_section
from stages.runtime.command import run
from stages.runtime.errors import UserError
from stages.runtime.settings import read_runtime

log = logging.getLogger(__name__)


def annotate(
    documents: pl.DataFrame, categories: pl.DataFrame, labels: pl.DataFrame, params: AnnotateParams, device: str
) -> pl.DataFrame:
    """Give each usable document a category; a duplicate copies the one of its original.

    With `provider: file` a duplicate brings its own label instead.

    Args:
        documents: the documents table.
        categories: `category`, `description`.
        labels: `document_id`, `category`, for `provider: file`.
        device: where a local model runs (`auto`, `cpu`, `cuda`, `mps`).

    Returns:
        The annotations table, a row for each document with status `ok` or `duplicate`.
    """
    usable = documents.filter(pl.col("status").is_in(["ok", "duplicate"]))
    alone = usable if params.provider == "file" else usable.filter(pl.col("status") == "ok")
    drawn = sample(alone["document_id"].to_list(), params.sample, params.seed)
    asked = alone.filter(pl.col("document_id").is_in(drawn))
    if params.provider == "file":
        from stages.annotators import from_file

        answers = from_file.annotate(asked, labels)
    else:
        from stages.annotators import zero_shot

        answers = zero_shot.annotate(asked, categories, params.zero_shot, device)
    own = pl.col("document_id") if params.provider == "file" else pl.coalesce("duplicate_of", "document_id")
    return (
        usable.select("document_id", asked=own)
        .join(answers.rename({"document_id": "asked"}), on="asked", how="left", maintain_order="left")
        .with_columns(
            annotator=pl.lit(params.provider),
            error=pl.when(pl.col("status").is_null()).then(pl.lit("not in the sample")).otherwise("error"),
            status=pl.col("status").fill_null("skipped"),
        )
    )


def measure(annotations: pl.DataFrame, gold: pl.DataFrame, examples: pl.DataFrame) -> Metrics:
    """Count documents by status and category, and compare with the gold labels."""
    statuses = dict(annotations["status"].value_counts().iter_rows())
    categories = annotations.drop_nulls("category").group_by("category").len().sort("category")
    compared = agreement(annotations, gold, examples)
    return {
        "documents": len(annotations),
        "annotated": statuses.get("ok", 0),
        "failed": statuses.get("failed", 0),
        "skipped": statuses.get("skipped", 0),
        "compared_with_gold": compared.pop("documents"),
        **compared,
        "categories": dict(categories.iter_rows()),
    }


def main() -> None:
    """Annotate data/extracted/ into data/annotated/ and metrics/annotate.json."""
    params, corpus = read_section("annotate", AnnotateParams), read_corpus()
    categories, labels, gold, examples = (
        read_csv(corpus, name) for name in ("categories.csv", "labels.csv", "gold.csv", "examples.csv")
    )
    documents = read_table(DOCUMENTS)
    for name, frame in (("labels.csv", labels), ("gold.csv", gold), ("examples.csv", examples)):
        if unknown := sorted(set(frame["document_id"]) - set(documents["document_id"])):
            log.warning(
                "%s: ignored, not ids of documents (the path below documents/ without the ending): %s",
                corpus / name,
                some(unknown),
            )
    known = {normal(name) for name in categories["category"]}
    for name, frame in (("labels.csv", labels), ("gold.csv", gold)):
        used = known and (name != "labels.csv" or params.provider == "file")
        if used and (odd := sorted({c for c in frame["category"] if normal(c) not in known})):
            log.warning("%s: categories that are not in categories.csv: %s", corpus / name, some(odd))

    annotations = annotate(documents, categories, labels, params, read_runtime().device)
    if "ok" not in set(annotations["status"]):
        hint = f"{corpus / 'labels.csv'} names none of them" if params.provider == "file" else "see above"
        raise UserError(f"annotate: none of the {len(annotations)} documents has a category: {hint}")

    shown = sorted(with_duplicates(set(examples["document_id"]), groups_of(documents)))
    metrics = measure(annotations, gold, pl.DataFrame({"document_id": shown}, schema={"document_id": pl.String}))
    metrics["unknown_labels"] = len(set(labels["document_id"]) - set(documents["document_id"]))
    write_table(annotations, ANNOTATIONS)
    write_json(Path("metrics/annotate.json"), metrics)
    log.info("annotate: %d of %d documents by %s", metrics["annotated"], metrics["documents"], params.provider)


if __name__ == "__main__":
    run(main)
