"""Stage 6: the test set, looked at once; scores beside baselines, against labels and against gold."""

import logging
from pathlib import Path

import numpy as np
import polars as pl

from stages.classes.names import normal
from stages.corpus.csvs import read_csv
from stages.corpus.tables import CLASSES, SPLIT, read_table
from stages.evaluation.baselines import majority, tfidf
from stages.evaluation.params import EvaluateParams
from stages.evaluation.scores import per_class, scores
from stages.files import Metrics, write_csv, write_json
from stages.inference.classifier import load_classifier
from stages.params import read_corpus, read_section
from stages.runtime.command import run
from stages.runtime.settings import read_runtime

log = logging.getLogger(__name__)

# With fewer test documents, one of them moves the scores by more than two models usually differ.
FEW = 50
MODEL = Path("models/classifier")


def true_labels(gold: pl.DataFrame, classes: pl.DataFrame) -> dict[str, str]:
    """Map documents with a gold category to the class they truly belong to.

    A category nothing was annotated with stands for itself (no classifier of this run can be right
    about it); one whose class was dropped is left out.

    Args:
        gold: `document_id`, `category`.
        classes: `category`, `label` (null: dropped).
    """
    class_of = {normal(category): label for category, label in classes.iter_rows()}
    found = {
        document: class_of.get(normal(category), category)
        for document, category in gold.select("document_id", "category").iter_rows()
    }
    return {document: label for document, label in found.items() if label is not None}


def evaluate(
    test: pl.DataFrame,
    train: pl.DataFrame,
    predicted: dict[str, list[str]],
    predicted_train: list[str],
    gold: dict[str, str],
    labels: list[str],
) -> Metrics:
    """Score the model and the baselines.

    Args:
        test, train: splits, `document_id`, `text`, `label`.
        predicted: the test documents' classes as given by `model` and by each baseline.
        predicted_train: the training documents' classes as given by the model.
        gold: document to true class, as far as people labelled them.
        labels: the classes the model knows.
    """
    given = test["label"].to_list()
    test_scores = {name: scores(given, answers, labels) for name, answers in predicted.items()}
    model = test_scores.pop("model")
    train_scores = scores(train["label"].to_list(), predicted_train, labels)
    metrics: Metrics = {
        "documents": {"train": len(train), "test": len(test)},
        "test": model,
        "train": train_scores,
        "train_test_gap": round(train_scores["macro_f1"] - model["macro_f1"], 4),
        "baselines": test_scores,
    }
    places = [place for place, name in enumerate(test["document_id"]) if name in gold]
    if places:
        true = [gold[test["document_id"][place]] for place in places]
        known = sorted({*labels, *true})
        against = {
            name: scores(true, [answers[place] for place in places], known) for name, answers in predicted.items()
        }
        metrics["gold"] = {"documents": len(places), "test": against.pop("model"), "baselines": against}
        metrics["gold"]["labels"] = scores(true, [given[place] for place in places], known)
    metrics["per_class"] = per_class(given, predicted["model"], labels)
    return metrics


def list_errors(test: pl.DataFrame, predicted: list[str], probability: np.ndarray) -> pl.DataFrame:
    """Return the test documents the model got wrong, most confident first.

    Args:
        probability: of the predicted class, one for each test document.
    """
    return (
        test.select("document_id", given="label")
        .with_columns(predicted=pl.Series(predicted), probability=pl.Series(probability.astype(np.float64)).round(4))
        .filter(pl.col("given") != pl.col("predicted"))
        .sort("probability", "document_id", descending=[True, False])
    )


def main() -> None:
    """Evaluate models/classifier on data/split/ into metrics/evaluate*."""
    params, corpus = read_section("evaluate", EvaluateParams), read_corpus()
    gold = true_labels(read_csv(corpus, "gold.csv"), read_table(CLASSES))
    train, test = read_table(SPLIT / "train.parquet"), read_table(SPLIT / "test.parquet")
    classifier = load_classifier(MODEL, read_runtime().device)
    labels = classifier.labels

    probabilities = classifier.probabilities(test["text"].to_list(), params.batch_tokens)
    on_train = classifier.probabilities(train["text"].to_list(), params.batch_tokens)
    texts, given = train["text"].to_list(), train["label"].to_list()
    baselines = {"majority": majority(texts, given), "tfidf": tfidf(texts, given, params.tfidf)}
    predicted = {
        "model": [labels[place] for place in probabilities.argmax(axis=1)],
        **{name: baseline.predict(test["text"].to_list()).tolist() for name, baseline in baselines.items()},
    }
    metrics = evaluate(test, train, predicted, [labels[place] for place in on_train.argmax(axis=1)], gold, labels)

    out = Path("metrics/evaluate")
    write_json(Path("metrics/evaluate.json"), metrics)
    confusion = test.select("document_id", actual="label").with_columns(predicted=pl.Series(predicted["model"]))
    write_csv(out / "confusion.csv", confusion.select("actual", "predicted"))
    per = pl.DataFrame([{"class": label, "f1": row["f1"]} for label, row in metrics["per_class"].items()])
    write_csv(out / "per_class.csv", per)
    write_csv(out / "errors.csv", list_errors(test, predicted["model"], probabilities.max(axis=1)))
    if len(test) < FEW:
        log.warning(
            "evaluate: %d test documents are few: each is worth %.1f points of accuracy", len(test), 100 / len(test)
        )
    log.info(
        "evaluate: macro F1 %.3f on %d test documents (TF-IDF %.3f, majority %.3f; %.3f on train)",
        metrics["test"]["macro_f1"],
        len(test),
        metrics["baselines"]["tfidf"]["macro_f1"],
        metrics["baselines"]["majority"]["macro_f1"],
        metrics["train"]["macro_f1"],
    )


if __name__ == "__main__":
    run(main)
