"""What a model has to beat on the same documents."""

from collections.abc import Sequence

from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from stages.evaluation.params import TfidfParams


def majority(texts: Sequence[str], labels: Sequence[str]) -> DummyClassifier:
    """Fit the baseline that always answers the commonest class."""
    return DummyClassifier(strategy="most_frequent").fit(texts, labels)


def tfidf(texts: Sequence[str], labels: Sequence[str], params: TfidfParams) -> Pipeline:
    """Fit TF-IDF of words and word n-grams with logistic regression, classes weighted alike as in macro F1."""
    return make_pipeline(
        TfidfVectorizer(ngram_range=(1, params.ngrams), sublinear_tf=True),
        LogisticRegression(C=params.C, class_weight="balanced", max_iter=1000),
    ).fit(texts, labels)
