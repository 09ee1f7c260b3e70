"""Stage 6: the test set, looked at once; scores beside baselines, against labels and against gold; doubtful labels."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from stages.corpus.csvs import read_csv
from stages.corpus.tables import CLASSES, LABELS, LEARNING_CURVE, OUT_OF_FOLD, SPLIT, read_table
from stages.evaluation.baselines import embeddings, majority, tfidf
from stages.evaluation.calibration import calibration_scores, coverage_at, scaled
from stages.evaluation.judging import against_gold, corrected, judge
from stages.evaluation.learning import learning_curve
from stages.evaluation.names import FEW
from stages.evaluation.params import EvaluateParams
from stages.evaluation.references import labels_before, true_labels
from stages.evaluation.scores import per_class, scores
from stages.evaluation.tables import tables
from stages.evaluation.vectors import embed
from stages.files import Metrics, write_csv, write_json
from stages.inference.classifier import load_classifier
from stages.params import read_corpus, read_section
from stages.runtime.command import run
from stages.runtime.device import resolve_device
from stages.runtime.errors import UserError
from stages.runtime.settings import read_runtime
from stages.suspects.out_of_fold import out_of_fold
from stages.suspects.problems import checked_documents, label_problems

log = logging.getLogger(__name__)

MODEL = Path("models/classifier")


@dataclass(frozen=True)
class Answers:
    """What the model and the baselines say.

    Args:
        labels: the classes the model knows, in the order of its logits.
        logits: [documents, classes] of the test documents.
        temperature: what they are divided by.
        train: the model's classes for the training documents.
        baselines: the classes that each baseline gives the test documents.
    """

    labels: list[str]
    logits: np.ndarray
    temperature: float
    train: Sequence[str]
    baselines: Mapping[str, Sequence[str]]


def evaluate(
    test: pl.DataFrame,
    train: pl.DataFrame,
    answers: Answers,
    gold: Mapping[str, str],
    replaced: Mapping[str, str],
    curve: list[Metrics],
    params: EvaluateParams,
) -> Metrics:
    """Score the model and the baselines.

    Args:
        test, train: splits, `document_id`, `label`; of test also `group`.
        gold: document to true class, as far as people labelled them.
        replaced: document to the label it had before overrides.csv changed it.
        curve: the learning curve, if there is one.

    Raises:
        UserError: if a test document has a class that the model does not know.
    """
    labels, baselines = answers.labels, list(answers.baselines)
    if unknown := sorted(set(test["label"]) - set(labels)):
        raise UserError(f"{MODEL}: trained without class {unknown[0]!r} of the test set: `dvc repro` trains it anew")
    predicted = [labels[place] for place in answers.logits.argmax(axis=1)]
    asked = test.select("document_id", "group", given="label").with_columns(
        pl.Series(name, column, dtype=pl.String) for name, column in {"model": predicted, **answers.baselines}.items()
    )
    judged = judge(asked, "given", baselines, labels, params)
    on_train = scores(train["label"].to_list(), answers.train, labels)
    true = np.array([labels.index(label) for label in test["label"]])
    before, after = (scaled(answers.logits, by) for by in (1.0, answers.temperature))
    metrics: Metrics = {
        "documents": {"train": len(train), "test": len(test)},
        "test": judged["test"],
        "train": on_train,
        "train_test_gap": round(on_train["macro_f1"] - judged["test"]["macro_f1"], 4),
        "baselines": judged["baselines"],
        "paired": judged["paired"],
        "calibration": {
            "temperature": answers.temperature,
            "before": calibration_scores(before, true),
            "after": calibration_scores(after, true),
        },
        "coverage": coverage_at(after, true),
    }
    if curve:
        metrics["learning_curve"] = curve
    if on_gold := against_gold(asked, gold, baselines, params):
        metrics["gold"] = on_gold
    if on_corrected := corrected(asked, replaced, labels):
        metrics["overrides"] = on_corrected
    metrics["per_class"] = per_class(test["label"].to_list(), predicted, labels)
    return metrics


def main() -> None:
    """Evaluate models/classifier on data/split/ into metrics/evaluate*."""
    params, corpus = read_section("evaluate", EvaluateParams), read_corpus()
    classes = read_table(CLASSES)
    gold, replaced = true_labels(read_csv(corpus, "gold.csv"), classes), labels_before(read_table(LABELS), classes)
    train, validation, test = (read_table(SPLIT / f"{side}.parquet") for side in ("train", "validation", "test"))
    texts, given = train["text"].to_list(), train["label"].to_list()
    device = read_runtime().device
    classifier = load_classifier(MODEL, device)
    labels = classifier.labels

    def vectors(frame: pl.DataFrame) -> np.ndarray:
        return embed(frame["text"].to_list(), params.embeddings.max_tokens, resolve_device(device))

    sides = {"train": train, "validation": validation}
    learned = pl.concat([frame.with_columns(side=pl.lit(side)) for side, frame in sides.items()])
    known = vectors(learned)
    logits = classifier.logits(test["text"].to_list(), params.batch_tokens)
    on_train = classifier.logits(texts, params.batch_tokens)
    baselines = {
        "majority": majority(texts, given).predict(test["text"].to_list()),
        "tfidf": tfidf(texts, given, params.tfidf).predict(test["text"].to_list()),
        "embeddings": embeddings(known[: len(train)], given, params.embeddings.C).predict(vectors(test)),
    }
    answers = Answers(
        labels,
        logits,
        classifier.temperature,
        [labels[place] for place in on_train.argmax(axis=1)],
        {name: found.tolist() for name, found in baselines.items()},
    )
    found, source = out_of_fold(learned, read_table(OUT_OF_FOLD), known, params)
    curve = learning_curve(read_table(LEARNING_CURVE), learned, labels, params)
    metrics = evaluate(test, train, answers, gold, replaced, curve, params)
    checked = checked_documents(learned, read_csv(corpus, "overrides.csv"))
    metrics["label_suspects"], doubts = label_problems(found, source, checked)

    write_json(Path("metrics/evaluate.json"), metrics)
    for name, table in (tables(test, labels, logits, classifier.temperature, metrics) | doubts).items():
        write_csv(Path(f"metrics/evaluate/{name}.csv"), table)
    report(metrics)


def report(metrics: Metrics) -> None:
    """Say in the log what the numbers come to."""
    documents, scored = metrics["documents"]["test"], metrics["test"]
    if documents < FEW:
        log.warning(
            "evaluate: %d test documents are few: each is worth %.1f points of accuracy", documents, 100 / documents
        )
    log.info(
        "evaluate: macro F1 %.3f on %d test documents, 95 %% interval %.3f to %.3f (%s; %.3f on train)",
        scored["macro_f1"],
        documents,
        scored["intervals"]["macro_f1"]["low"],
        scored["intervals"]["macro_f1"]["high"],
        ", ".join(f"{name} {found['macro_f1']:.3f}" for name, found in metrics["baselines"].items()),
        metrics["train"]["macro_f1"],
    )
    doubted = metrics["label_suspects"]
    log.info(
        "evaluate: %d of %d labels are doubtful (by %s): `python -m stages.review` goes through them",
        doubted["suspects"],
        doubted["documents"],
        doubted["from"],
    )


if __name__ == "__main__":
    run(main)
