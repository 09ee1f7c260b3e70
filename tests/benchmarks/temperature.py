"""What fitting the temperature to few documents costs, and what a prior on it saves.

    python -m tests.benchmarks.temperature data/sample --fitted-to 19

Documents of a corpus with `labels.csv`, already extracted (`data/extracted/`), are divided anew under each seed: 60 %
to learn from, so many to fit the temperature to, the rest to measure by. The models are logistic regressions on frozen
embeddings: weakly regularised ones are too sure of themselves, strongly regularised ones not sure enough. Prints the
mean log loss and ECE without a temperature, with the one of the lowest log loss, and with that of the pipeline, for
labels as they are and with 15 % of them drawn anew.
"""

import argparse
import statistics
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from stages.corpus.csvs import read_csv
from stages.corpus.tables import DOCUMENTS, read_table
from stages.evaluation import calibration
from stages.evaluation.calibration import calibration_scores, fit_temperature, scaled
from stages.evaluation.vectors import embed

STRENGTHS = (1.0, 30.0, 1000.0)
SPREADS = {"no temperature": 1e-9, "lowest log loss": 1e9, "pipeline": calibration.SPREAD, "half its spread": 0.25}


def measure(
    vectors: np.ndarray, labels: np.ndarray, C: float, fitted_to: int, seed: int
) -> dict[str, dict[str, float]]:
    """Return the scores of each way to choose the temperature under one division."""
    learned, rest = train_test_split(np.arange(len(labels)), train_size=0.6, stratify=labels, random_state=seed)
    model = LogisticRegression(C=C, max_iter=1000).fit(vectors[learned], labels[learned])
    logits = model.decision_function(vectors)
    fitted, measured = rest[:fitted_to], rest[fitted_to:]
    found = {}
    for name, spread in SPREADS.items():
        calibration.SPREAD = spread
        temperature = fit_temperature(logits[fitted], labels[fitted])
        found[name] = calibration_scores(scaled(logits[measured], temperature), labels[measured])
    return found


def main() -> None:
    """Print a line for each model and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--fitted-to", type=int, default=19, help="documents")
    parser.add_argument("--seeds", type=int, default=30)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="sklearn")
    given = dict(read_csv(arguments.corpus, "labels.csv").select("document_id", "category").iter_rows())
    rows = [row for row in read_table(DOCUMENTS).select("document_id", "text").iter_rows() if row[0] in given]
    vectors = embed([text for _, text in rows], 5000, "cpu")
    names, clean = np.unique([given[document] for document, _ in rows], return_inverse=True)
    for noise in (0.0, 0.15):
        for strength in STRENGTHS:
            scores = defaultdict(list)
            for seed in range(arguments.seeds):
                random = np.random.default_rng(seed)
                labels = np.where(
                    random.random(len(clean)) < noise, random.integers(len(names), size=len(clean)), clean
                )
                for name, found in measure(vectors, labels, strength, arguments.fitted_to, seed).items():
                    scores[name].append(found)
            for name, each in scores.items():
                loss, ece = (statistics.mean(found[key] for found in each) for key in ("log_loss", "ece"))
                print(f"noise {noise:4.2f}  C {strength:6g}  {name:16}  log loss {loss:.3f}  ECE {ece:.3f}")


if __name__ == "__main__":
    main()
