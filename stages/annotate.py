"""Stage 2: a category for every document, from the provider that params.yaml names."""

import argparse
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from stages.annotators.agreement import agreement
from stages.annotators.params import AnnotateParams
from stages.annotators.sampling import sample
from stages.classes.names import normal
from stages.corpus.csvs import read_csv, some
from stages.corpus.duplicates import groups_of, with_duplicates
from stages.corpus.tables import ANNOTATIONS, COLUMNS, DOCUMENTS, RESPONSES, read_texts, scan_table, write_table
from stages.files import Metrics, write_json
from stages.params import read_corpus, read_section
from stages.runtime.command import run
from stages.runtime.errors import UserError
from stages.runtime.settings import RuntimeSettings, read_runtime

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Annotated:
    """The annotations table; with `provider: openai` the answers behind it and their tokens, else none."""

    annotations: pl.DataFrame
    responses: pl.DataFrame
    tokens: dict[str, int]


def find_usable(documents: pl.LazyFrame) -> pl.DataFrame:
    """Return `document_id`, `status`, `duplicate_of` of the documents that can be annotated."""
    usable = documents.filter(pl.col("status").is_in(["ok", "duplicate"]))
    return usable.select("document_id", "status", "duplicate_of").collect()


def draw(usable: pl.DataFrame, params: AnnotateParams) -> list[str]:
    """Return the documents that are annotated themselves, sorted: not the duplicates, or a sample of those.

    With `provider: file` duplicates are annotated themselves.
    """
    alone = usable if params.provider == "file" else usable.filter(status="ok")
    return sorted(sample(alone["document_id"].to_list(), params.sample, params.seed))


def annotate(
    documents: pl.LazyFrame,
    categories: pl.DataFrame,
    labels: pl.DataFrame,
    examples: pl.DataFrame,
    params: AnnotateParams,
    runtime: RuntimeSettings,
) -> Annotated:
    """Give each usable document a category; a duplicate copies the one of its original.

    With `provider: file` a duplicate brings its own label instead.

    Args:
        documents: the documents table; texts are read from it a few at a time.
        categories: `category`, `description`.
        labels: `document_id`, `category`, for `provider: file`.
        examples: `document_id`, `category`, shown by `provider: openai`.

    Returns:
        The annotations table, a row for each document with status `ok` or `duplicate`.
    """
    usable = find_usable(documents)
    asked = draw(usable, params)
    responses, tokens = pl.DataFrame(schema=COLUMNS[RESPONSES.name]), {}
    if params.provider == "file":
        from stages.annotators import from_file

        answers = from_file.annotate(usable.filter(pl.col("document_id").is_in(asked)), labels)
    elif params.provider == "zero_shot":
        from stages.annotators import zero_shot

        answers = zero_shot.annotate(read_texts(documents, asked), len(asked), categories, params, runtime.device)
    else:
        from stages.annotators import openai

        prompt = openai.prepare(categories, documents, examples, params)
        labelled = openai.annotate(read_texts(documents, asked), len(asked), prompt, params, runtime)
        answers, responses = labelled.table(), labelled.responses()
        tokens = {"prompt": labelled.prompt_tokens, "completion": labelled.completion_tokens}
    own = pl.col("document_id") if params.provider == "file" else pl.coalesce("duplicate_of", "document_id")
    annotations = (
        usable.select("document_id", asked=own)
        .join(answers.rename({"document_id": "asked"}), on="asked", how="left", maintain_order="left")
        .with_columns(
            annotator=pl.lit(params.provider),
            error=pl.when(pl.col("status").is_null()).then(pl.lit("not in the sample")).otherwise("error"),
            status=pl.col("status").fill_null("skipped"),
        )
    )
    return Annotated(annotations, responses, tokens)


def measure(annotated: Annotated, gold: pl.DataFrame, examples: pl.DataFrame) -> Metrics:
    """Count documents by status, failures by kind and documents by category, and compare with the gold labels.

    Args:
        gold: `document_id`, `category`.
        examples: `document_id` of what is left out of the comparison.
    """
    annotations = annotated.annotations
    statuses = Counter(annotations["status"])
    failed = Counter(error.partition(":")[0] for error in annotations.filter(status="failed")["error"])
    categories = annotations.drop_nulls("category").group_by("category").len().sort("category")
    compared = agreement(annotations, gold, examples)
    return {
        "documents": len(annotations),
        "annotated": statuses["ok"],
        "failed": statuses["failed"],
        "failed_by": dict(sorted(failed.items())),
        "skipped": statuses["skipped"],
        "tokens": annotated.tokens,
        "compared_with_gold": compared.pop("documents"),
        **compared,
        "categories": dict(categories.iter_rows()),
    }


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.annotate", description=__doc__, epilog="Its settings are in params.yaml."
    )
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--plan", action="store_true", help="say what provider openai would ask and cost; send nothing")
    other.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="two annotators on the same documents: .csv or .parquet files, or revisions (branches, experiments)",
    )
    return parser.parse_args()


def main() -> None:
    """Annotate data/extracted/ into data/annotated/ and metrics/annotate.json."""
    arguments = parse_arguments()
    if arguments.compare:
        from stages.annotators.compare import compare, read_categories

        first, second = (read_categories(name) for name in arguments.compare)
        print(compare(first, second, tuple(arguments.compare)))
        return
    params, corpus, runtime = read_section("annotate", AnnotateParams), read_corpus(), read_runtime()
    categories, labels, gold, examples = (
        read_csv(corpus, name) for name in ("categories.csv", "labels.csv", "gold.csv", "examples.csv")
    )
    documents = scan_table(DOCUMENTS)
    known = documents.select("document_id", "duplicate_of").collect()
    for name, frame in (("labels.csv", labels), ("gold.csv", gold), ("examples.csv", examples)):
        if unknown := sorted(set(frame["document_id"]) - set(known["document_id"])):
            log.warning(
                "%s: ignored, not ids of documents (the path below documents/ without the ending): %s",
                corpus / name,
                some(unknown),
            )
    names = {normal(name) for name in categories["category"]}
    for name, frame in (("labels.csv", labels), ("gold.csv", gold)):
        used = names and (name != "labels.csv" or params.provider == "file")
        if used and (odd := sorted({c for c in frame["category"] if normal(c) not in names})):
            log.warning("%s: categories that are not in categories.csv: %s", corpus / name, some(odd))
    if arguments.plan:
        from stages.annotators import openai
        from stages.annotators.plan import plan

        if params.provider != "openai":
            raise UserError(f"--plan: annotate.provider is {params.provider}, which costs nothing; set openai")
        prompt = openai.prepare(categories, documents, examples, params)
        print(plan(read_texts(documents, draw(find_usable(documents), params)), prompt, params, runtime))
        return

    annotated = annotate(documents, categories, labels, examples, params, runtime)
    annotations = annotated.annotations
    if "ok" not in set(annotations["status"]):
        hint = f"{corpus / 'labels.csv'} names none of them" if params.provider == "file" else "see above"
        raise UserError(f"annotate: none of the {len(annotations)} documents has a category: {hint}")

    shown = sorted(with_duplicates(set(examples["document_id"]), groups_of(known)))
    metrics = measure(annotated, gold, pl.DataFrame({"document_id": shown}, schema={"document_id": pl.String}))
    metrics["unknown_labels"] = len(set(labels["document_id"]) - set(known["document_id"]))
    write_table(annotations, ANNOTATIONS)
    write_table(annotated.responses, RESPONSES)
    write_json(Path("metrics/annotate.json"), metrics)
    log.info("annotate: %d of %d documents by %s", metrics["annotated"], metrics["documents"], params.provider)


if __name__ == "__main__":
    run(main, own_arguments=True)
