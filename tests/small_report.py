"""What a run leaves behind for the report: metrics, tables, texts, made by hand in the form that the stages write."""

import csv
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from stages.corpus.tables import ANNOTATIONS, SPLIT, write_table
from tests.conftest import ROOT, edit_params

CLASSES = [
    "agriculture",
    "climate",
    "clinical medicine",
    "ecology",
    "education",
    "energy",
    "public health",
    "transport",
]
TEST = 120


def scores(value: float, half: float = 0.0) -> dict[str, Any]:
    """Return scores around `value`, with intervals of that half width unless it is 0."""
    found: dict[str, Any] = {"macro_f1": value, "weighted_f1": value + 0.01, "accuracy": value + 0.02}
    if half:
        found["intervals"] = {
            name: {"low": round(found[name] - half, 4), "high": round(found[name] + half, 4)}
            for name in ("macro_f1", "accuracy")
        }
    return found


def predictions() -> list[tuple[str, str, str]]:
    """Return id, given and predicted class of the test documents: every sixth is taken for the class after its own."""
    rows = []
    for place in range(TEST):
        given = CLASSES[place % len(CLASSES)]
        predicted = CLASSES[(place + 1) % len(CLASSES)] if place % 6 == 0 else given
        rows.append((f"papers/document-{place}", given, predicted))
    return rows


def evaluation() -> dict[str, Any]:
    """Return metrics/evaluate.json with everything that it may hold."""
    paired = {"macro_f1_difference": 0.02, "low": -0.05, "high": 0.09, "p_value": 0.53}
    return {
        "documents": {"train": 480, "test": TEST},
        "test": scores(0.81, 0.07),
        "train": scores(0.97),
        "train_test_gap": 0.16,
        "baselines": {"majority": scores(0.03), "tfidf": scores(0.7), "embeddings": scores(0.79)},
        "paired": {
            "majority": {"macro_f1_difference": 0.78, "low": 0.7, "high": 0.85, "p_value": 0.0001},
            "tfidf": {"macro_f1_difference": 0.11, "low": 0.03, "high": 0.19, "p_value": 0.004},
            "embeddings": paired,
        },
        "calibration": {
            "temperature": 1.43,
            "before": {"ece": 0.112, "brier": 0.31, "log_loss": 0.71},
            "after": {"ece": 0.041, "brier": 0.28, "log_loss": 0.58},
        },
        "coverage": {"0.5": {"coverage": 0.93, "accuracy": 0.86}},
        "gold": {
            "documents": 100,
            "test": scores(0.84, 0.06),
            "baselines": {"majority": scores(0.03), "tfidf": scores(0.69), "embeddings": scores(0.8)},
            "labels": scores(0.9),
        },
        "overrides": {"changed": 4, "before": scores(0.78), "after": scores(0.81)},
        "per_class": {
            name: {"precision": 0.9 - place / 20, "recall": 0.8, "f1": round(0.88 - place / 25, 4), "support": 15}
            for place, name in enumerate(CLASSES)
        },
        "label_suspects": {"documents": 540, "suspects": 22, "share": 0.0407, "from": "folds"},
    }


def tables() -> dict[str, tuple[list[str], Sequence[Sequence[object]]]]:
    """Return header and rows of the CSV files below metrics/, by their path there."""
    rows = predictions()
    wrong = [(*row, round(0.95 - place / 50, 4)) for place, row in enumerate(row for row in rows if row[1] != row[2])]
    bins = [(n / 15 + 1 / 30, 8 + n) for n in range(4, 15)]
    return {
        "evaluate/confusion.csv": (["actual", "predicted"], [row[1:] for row in rows]),
        "evaluate/per_class.csv": (["class", "f1"], [(name, 0.8) for name in CLASSES]),
        "evaluate/errors.csv": (["document_id", "given", "predicted", "probability"], wrong),
        "evaluate/reliability.csv": (
            ["confidence", "accuracy", "documents", "scaling"],
            [
                (round(x, 4), round(x ** (1.6 if scaling == "before" else 1.1), 4), count, scaling)
                for scaling in ("before", "after")
                for x, count in bins
            ],
        ),
        "evaluate/coverage.csv": (
            ["threshold", "coverage", "accuracy"],
            [(n / 20, round(1 - (n / 20) ** 3, 4), round(0.83 + 0.15 * n / 20, 4)) for n in range(20)],
        ),
        "evaluate/learning_curve.csv": (
            ["documents", "macro_f1", "low", "high"],
            [(n, f, f - 0.05, f + 0.05) for n, f in ((120, 0.62), (240, 0.73), (360, 0.78), (480, 0.8))],
        ),
        "evaluate/label_suspects.csv": (
            ["document_id", "given", "suggested", "confidence", "side"],
            [
                (f"papers/train-{n}", CLASSES[n % 8], CLASSES[(n + 3) % 8], round(0.99 - n / 40, 4), "train")
                for n in range(22)
            ],
        ),
        "evaluate/least_confident.csv": (
            ["document_id", "given", "predicted", "probability"],
            [(f"papers/train-{n}", CLASSES[n % 8], CLASSES[n % 8], round(0.3 + n / 100, 4)) for n in range(30, 50)],
        ),
        "evaluate/class_overlaps.csv": (
            ["class", "other", "documents", "share", "suggestion"],
            [("clinical medicine", "public health", 14, 0.11, "merge"), ("agriculture", "ecology", 6, 0.05, "")],
        ),
        "extract/lengths.csv": (
            ["tokens", "documents"],
            [("     0 to 100", 3), ("   100 to 250", 90), ("   250 to 500", 520)],
        ),
    }


def other_metrics() -> dict[str, dict[str, Any]]:
    """Return the metrics files of the other stages."""
    share = {name: {"train": 60, "validation": 8, "test": 15} for name in CLASSES}
    return {
        "extract": {
            "documents": 640,
            "status": {"ok": 613, "empty": 12, "garbage": 0, "encrypted": 2, "damaged": 3, "duplicate": 10},
            "pages": 4210,
            "pages_read": 4170,
            "languages": {"en": 600, "de": 13},
            "tokens": {"total": 900000, "median": 427.5, "max": 5000},
        },
        "annotate": {
            "documents": 623,
            "annotated": 620,
            "failed": 3,
            "failed_by": {"refused": 3},
            "compared_with_gold": 200,
            "accuracy": 0.86,
            "kappa": 0.83,
        },
        "merge_classes": {
            "documents": 620,
            "classes": dict.fromkeys(CLASSES, 77),
            "categories": dict.fromkeys([*CLASSES, "farming"], 68),
            "mapped": {"farming": "agriculture"},
            "rare": {"joined": {}, "min_count": 5},
            "overrides": {"applied": 6, "changed": 4, "new_classes": [], "unknown_documents": []},
            "contradicting_duplicates": [],
        },
        "split": {
            "train": 480,
            "validation": 60,
            "test": TEST,
            "gold_in_test": 100,
            "exact_duplicates": 10,
            "classes": share,
        },
        "train": {
            "documents": {"train": 480, "validation": 60},
            "best_epoch": 2,
            "validation": {"macro_f1": 0.84, "loss": 0.5},
            "steps": 180,
            "cut_off": {"documents": 0.12, "tokens": 0.0044},
            "parameters": {"trainable": 5474312, "total": 24490760},
            "cross_validation": {"folds": 5, "macro_f1": {"mean": 0.8, "std": 0.02, "pooled": 0.8, "each": []}},
        },
    }


def make_run(folder: Path, texts: Mapping[str, str] = {}) -> None:
    """Fill `folder` with params.yaml and what the six stages leave that the report reads.

    Args:
        texts: of documents (else each says which it is).
    """
    shutil.copy(ROOT / "params.yaml", folder)
    edit_params(folder / "params.yaml", {"corpus": "data/mine"})
    (folder / "data/mine").mkdir(parents=True)
    for stage, metrics in {**other_metrics(), "evaluate": evaluation()}.items():
        write_json(folder / f"metrics/{stage}.json", metrics)
    for name, (header, rows) in tables().items():
        write_rows(folder / "metrics" / name, header, rows)
    history = {
        "train/loss": [(step, 2 / (1 + step / 20)) for step in range(1, 181)],
        "train/learning_rate": [(step, 3e-5 * (1 - step / 181)) for step in range(1, 181)],
        **{
            f"validation/{name}": [(step, 0.5 + step / 450) for step in (0, 60, 120, 180)]
            for name in ("macro_f1", "accuracy")
        },
        "validation/loss": [(0, 2.0), (60, 0.9), (120, 0.5), (180, 0.55)],
    }
    for name, points in history.items():
        path = folder / f"metrics/train/plots/metrics/{name}.tsv"
        write_rows(path, ["step", path.stem], points, "\t")
    write_documents(folder, texts)
    provenance = {
        "backbone": "bundled:all-MiniLM-L6-v2",
        "revision": None,
        "backbone_sha256": {"model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"},
        "python": "3.11.7",
        "packages": {"torch": "2.13.0", "transformers": "5.23.0"},
    }
    write_json(folder / "models/classifier/provenance.json", provenance)


def write_documents(folder: Path, texts: Mapping[str, str]) -> None:
    """Write the split and the annotations."""
    given = {name: label for name, label, _ in predictions()}
    train = {f"papers/train-{n}": CLASSES[n % 8] for n in range(50)}
    for side, labels in (("test", given), ("train", train), ("validation", {})):
        rows = [(name, texts.get(name, f"The text of {name}."), label, name) for name, label in labels.items()]
        schema = dict.fromkeys(("document_id", "text", "label", "group"), pl.String)
        write_table(pl.DataFrame(rows, schema, orient="row"), folder / SPLIT / f"{side}.parquet")
    annotations = [(name, label, 0.8, "openai:gpt-5-mini", "ok", "") for name, label in {**given, **train}.items()]
    columns = ["document_id", "category", "confidence", "annotator", "status", "error"]
    write_table(pl.DataFrame(annotations, columns, orient="row"), folder / ANNOTATIONS)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object as JSON, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_rows(path: Path, header: list[str], rows: Iterable[Sequence[object]], separator: str = ",") -> None:
    """Write a table as CSV, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=separator, lineterminator="\n").writerows([header, *rows])


HOSTILE = {
    "markup": "</div></script><script>alert(1)</script><img src=http://example.org/x.png onerror=alert(2)><b>bold",
    "end of everything": "--></style></title></textarea></svg></body></html>]]>{{ 7 * 7 }}{% raw %}",
    "quotes": '" onmouseover="alert(1)" \' `code` & &lt; &#0;',
    "control characters": "before\x00\x01\x08\x0b\x1b[31mred\x7f\x85after\ufffe",
    "right to left": "\u202eesrever\u202d\u2069\u2069\u2066 \u05d0\u05d1\u05d2 \u200f\u0627\u0644\u0639",
    "one long line": "x" * 100_000,
    "many lines": "line\n" * 20_000,
    "stacked accents": "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031e\u0349\u035a" * 300,
    "wide signs": "\ufdfd" * 500 + "\u2e3b" * 500,
    "white space": "\t" * 400 + "\u2003" * 400 + "end",
}


def make_hostile(folder: Path, text: str) -> None:
    """Put `text` into every place of a run that a corpus fills: texts, ids, classes, categories."""
    name = text[:200].replace("\0", "")  # what a file name and a CSV file can hold
    for path, (header, rows) in tables().items():
        if path.startswith("evaluate/"):
            changed = [[name if isinstance(cell, str) else cell for cell in row] for row in rows[:3]]
            write_rows(folder / "metrics" / path, header, [*changed, *rows[3:]])
    found = evaluation()
    found["per_class"][name] = found["per_class"].pop("transport")
    write_json(folder / "metrics/evaluate.json", found)
    merged = other_metrics()["merge_classes"]
    merged["mapped"] = {name: name}
    write_json(folder / "metrics/merge_classes.json", merged)
    split = other_metrics()["split"]
    split["classes"][name] = {"train": 1, "validation": 1, "test": 1}
    write_json(folder / "metrics/split.json", split)
    # The documents whose rows were left as they are show it as their text.
    texts = {row[0]: text for row in tables()["evaluate/errors.csv"][1]}
    write_documents(folder, {str(document): content for document, content in texts.items()})
