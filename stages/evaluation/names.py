"""What people are told: the baselines by name, and when there are few test documents."""

# With fewer test documents, one of them moves accuracy by more than two points.
FEW = 50
BASELINES = {
    "majority": "the most frequent class",
    "tfidf": "TF-IDF + logistic regression",
    "embeddings": "frozen embeddings + logistic regression",
}


def name_baseline(key: str) -> str:
    """Return a baseline's name for people."""
    return BASELINES.get(key, key)
