"""What a model has to beat on the same documents."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from stages.evaluation.params import TfidfParams
from stages.splitting.folds import assign_folds, groups_by_class

# Parts of the cross-validation of `out_of_fold_embeddings`.
FOLDS = 5


def majority(texts: Sequence[str], labels: Sequence[str]) -> DummyClassifier:
    """Fit the baseline that always answers the commonest class."""
    return DummyClassifier(strategy="most_frequent").fit(texts, labels)


def tfidf(texts: Sequence[str], labels: Sequence[str], params: TfidfParams) -> Pipeline:
    """Fit TF-IDF of words and word n-grams with logistic regression, classes weighted alike as in macro F1."""
    return make_pipeline(
        TfidfVectorizer(ngram_range=(1, params.ngrams), sublinear_tf=True),
        LogisticRegression(C=params.C, class_weight="balanced", max_iter=1000),
    ).fit(texts, labels)


def embeddings(vectors: np.ndarray, labels: Sequence[str], C: float) -> LogisticRegression:
    """Fit logistic regression on sentence embeddings of an encoder that learns nothing, classes weighted alike.

    Args:
        vectors: [documents, dimensions], as `stages.evaluation.vectors.embed` makes them.
        C: inverse strength of the regularisation.
    """
    return LogisticRegression(C=C, class_weight="balanced", max_iter=1000).fit(vectors, labels)


def out_of_fold_embeddings(documents: pl.DataFrame, vectors: np.ndarray, C: float, seed: int) -> np.ndarray:
    """Predict each document by an `embeddings` baseline that has seen neither it nor its duplicates.

    Cross-validation in 5 parts (fewer where the largest class has fewer distinct documents), stratified by class, which
    stay what they are when documents are added (`assign_folds`).

    Args:
        documents: `label`, `group`; at least two classes of two groups each.
        vectors: [documents, dimensions], in the same order.
        C: inverse strength of the regularisation.

    Returns:
        Probabilities [documents, classes] (float64), classes in the order of their names, each row summing to 1; 0 for
        a class that no document outside the part has.
    """
    labels = documents["label"].to_numpy()
    classes = np.unique(labels)
    folds = min(FOLDS, max(map(len, groups_by_class(documents).values())))
    part = np.array(assign_folds(documents, folds, seed)[0])
    found = np.zeros((len(labels), len(classes)))
    for fold in np.unique(part):
        fitted = embeddings(vectors[part != fold], labels[part != fold], C)
        columns = np.searchsorted(classes, fitted.classes_)
        found[np.ix_(part == fold, columns)] = fitted.predict_proba(vectors[part == fold])
    return found
