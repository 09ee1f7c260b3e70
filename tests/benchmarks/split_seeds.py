"""The model against TF-IDF over several split seeds of one corpus with `provider: file`, paired.

    python -m tests.benchmarks.split_seeds data/sample --seeds 5
    python -m tests.benchmarks.split_seeds data/medical --seeds 3 --test-size 0.3
    python -m tests.benchmarks.split_seeds data/sample -S trainable_layers=2 -S model.pooling=own

Reads params.yaml for all else; writes nothing but a temporary folder. Prints a line a seed, then macro F1
pooled over the test documents of all seeds and the 95 % bootstrap interval of the paired difference
(2,000 resamplings of documents; a document tested under several seeds is drawn with all its answers).
"""

import argparse
import logging
import os
from pathlib import Path

import polars as pl

from stages.annotate import annotate
from stages.corpus.csvs import read_csv
from stages.corpus.documents import list_documents
from stages.corpus.duplicates import groups_of
from stages.evaluation.baselines import tfidf
from stages.evaluation.scores import scores
from stages.extract import extract
from stages.merge_classes import merge_classes
from stages.params import load
from stages.runtime.checker import Experiment, check
from stages.split import split, with_texts
from stages.splitting.assign import SIDES
from tests.benchmarks.paired import difference
from tests.benchmarks.training import add_changes, fine_tune, with_changes


def prepare(corpus: Path, params: Experiment) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Run extract, annotate (from labels.csv) and merge_classes in memory; return documents and labels."""
    sources = list_documents(corpus / "documents").sources
    metadata = read_csv(corpus, "metadata.csv")
    documents = pl.concat(extract(sources, metadata, params.extract, params.runtime.worker_count()))
    by_file = params.annotate.model_copy(update={"provider": "file"})
    categories, labels, examples = (read_csv(corpus, f"{name}.csv") for name in ("categories", "labels", "examples"))
    annotations = annotate(documents.lazy(), categories, labels, examples, by_file, params.runtime).annotations
    classes, overrides = read_csv(corpus, "classes.csv"), read_csv(corpus, "overrides.csv")
    merged = merge_classes(annotations, groups_of(documents), classes, overrides, params.merge_classes)
    return documents, merged.labels


def measure(documents: pl.DataFrame, labels: pl.DataFrame, params: Experiment, seed: int) -> pl.DataFrame:
    """Split, train and predict once; return `document_id`, `label`, `model`, `tfidf` of the test documents."""
    settings = params.split.model_copy(update={"seed": seed})
    table, _ = split(documents.lazy(), labels, [], [], settings)
    frames: dict[str, pl.DataFrame] = {side: with_texts(table.filter(side=side), documents.lazy()) for side in SIDES}
    given, metrics, seconds = fine_tune(frames, params, seed, asked=["test"])
    baseline = tfidf(frames["train"]["text"].to_list(), frames["train"]["label"].to_list(), params.evaluate.tfidf)
    test = frames["test"]
    answers = test.select("document_id", "label").with_columns(
        model=pl.Series(given["test"]), tfidf=pl.Series(baseline.predict(test["text"].to_list()).tolist())
    )
    names = sorted(set(frames["train"]["label"]))
    found = {
        name: scores(answers["label"].to_list(), answers[name].to_list(), names)["macro_f1"]
        for name in ("model", "tfidf")
    }
    print(
        f"seed {seed}: {len(frames['train'])} train, {len(test)} test: model {found['model']:.4f}, "
        f"TF-IDF {found['tfidf']:.4f}, validation {metrics['validation']['macro_f1']:.4f}, "
        f"best epoch {metrics['best_epoch']}, training {seconds:.0f} s",
        flush=True,
    )
    return answers


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--test-size", type=float)
    add_changes(parser)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    os.environ.setdefault("PIPELINE_CACHE", str(Path(".cache").resolve()))
    params = check(with_changes(load(), arguments.S))
    if arguments.test_size:
        changed = params.split.model_copy(update={"test_size": arguments.test_size})
        params = params.model_copy(update={"split": changed})
    documents, labels = prepare(arguments.corpus, params)
    answers = pl.concat([measure(documents, labels, params, seed) for seed in range(arguments.seeds)])
    print(f"model - TF-IDF: {difference(answers, 'model', 'tfidf')}")


if __name__ == "__main__":
    main()
