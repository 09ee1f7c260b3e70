"""How many wrong labels the suspects hold: gold labels of the corpus, some of them flipped at random.

    python -m tests.benchmarks.label_problems                          # by frozen embeddings, seeds 0 to 4
    python -m tests.benchmarks.label_problems --folds 5 --seeds 1      # by cross-validation of the model

Reads params.yaml, the corpus's gold.csv and data/extracted/ (`dvc repro extract`); writes nothing but a temporary
folder. Flips --share of the labels, each to another class at random, splits as the stage does, and looks for suspects
among train and validation. Precision: share of the suspects that were flipped. Recall: share of the flipped that are
suspects. `first`: precision of the first so many suspects as labels were flipped. `right`: share of the flipped found
whose label from before is suggested. A label that was wrong before counts as a false alarm.
"""

import argparse
import contextlib
import logging
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from stages.backbone.resolve import locate
from stages.corpus.csvs import read_csv
from stages.corpus.tables import DOCUMENTS, scan_table
from stages.evaluation.vectors import embed
from stages.params import load
from stages.params.seeds import derive
from stages.runtime.checker import Experiment, check
from stages.runtime.device import resolve_device
from stages.split import split, with_texts
from stages.suspects.doubts import OutOfFold, find_suspects
from stages.suspects.out_of_fold import from_embeddings, from_folds
from stages.train import train

COLUMNS = ("precision", "recall", "first", "right")


def flip(labels: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    """Return `labels` (`document_id`, `label`), a `share` of them another class at random, and `before`."""
    random = np.random.default_rng(derive(seed, "flip"))
    classes = sorted(set(labels["label"]))
    given = labels["label"].to_list()
    for place in random.permutation(len(given))[: round(share * len(given))]:
        given[place] = random.choice([name for name in classes if name != given[place]]).item()
    return labels.with_columns(before="label", label=pl.Series(given))


def look(frames: dict[str, pl.DataFrame], params: Experiment, folds: int) -> OutOfFold:
    """Return out-of-fold probabilities of train and validation: of the model, or without `folds` of embeddings."""
    documents = pl.concat([frame.with_columns(side=pl.lit(side)) for side, frame in frames.items()])
    if not folds:
        texts, device = documents["text"].to_list(), resolve_device(params.runtime.device)
        return from_embeddings(documents, embed(texts, params.evaluate.embeddings.max_tokens, device), params.evaluate)
    settings = params.train.model_copy(update={"folds": folds})
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        backbone = locate(params.model.name, params.model.revision)
        trained = train(frames, backbone, Path("checkpoints"), params.model, settings, params.runtime)
    return from_folds(documents, trained.out_of_fold)


def measure(labels: pl.DataFrame, share: float, seed: int, params: Experiment, folds: int) -> dict[str, float]:
    """Flip, split, look; return the numbers of one seed."""
    documents = scan_table(DOCUMENTS)
    flipped = flip(labels, share, seed)
    table, _ = split(documents, flipped.select("document_id", "label"), [], [], params.split)
    frames = {side: with_texts(table.filter(side=side), documents) for side in ("train", "validation")}
    suspects = find_suspects(look(frames, params, folds)).join(flipped, on="document_id", maintain_order="left")
    known = table.filter(pl.col("side") != "test").join(flipped.select("document_id", "before"), on="document_id")
    wrong = known.filter(pl.col("label") != pl.col("before"))
    hits = suspects.filter(pl.col("given") != pl.col("before"))
    first = suspects.head(len(wrong)).filter(pl.col("given") != pl.col("before"))
    found = {
        "precision": len(hits) / max(1, len(suspects)),
        "recall": len(hits) / len(wrong),
        "first": len(first) / len(wrong),
        "right": len(hits.filter(pl.col("suggested") == pl.col("before"))) / max(1, len(hits)),
    }
    numbers = "  ".join(f"{found[name]:9.2f}" for name in COLUMNS)
    print(f"{seed:4}  {len(known):9}  {len(wrong):7}  {len(suspects):8}  {numbers}", flush=True)
    return found


def main() -> None:
    """Read the command line, measure, print a line for each seed and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.1, help="of the labels that are flipped")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--folds", type=int, default=0, help="cross-validate the model; 0: the frozen embeddings")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    os.environ.setdefault("PIPELINE_CACHE", str(Path(".cache").resolve()))
    params = check(load())
    readable = scan_table(DOCUMENTS).filter(pl.col("status") == "ok").select("document_id").collect()
    gold = read_csv(Path(params.corpus), "gold.csv").select("document_id", label="category")
    labels = gold.join(readable, on="document_id", how="semi").sort("document_id")
    print("seed  documents  flipped  suspects  " + "  ".join(f"{name:>9}" for name in COLUMNS))
    found = [
        measure(labels, arguments.share, seed, params, arguments.folds)
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    ]
    means = "  ".join(f"{statistics.mean(row[name] for row in found):9.2f}" for name in COLUMNS)
    print(f"mean{'':33}{means}")


if __name__ == "__main__":
    main()
