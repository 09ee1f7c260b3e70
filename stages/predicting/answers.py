"""Predictions as people and programs want them: a table, JSON, JSON lines, CSV, parquet; written as they come."""

import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from stages.runtime.errors import UserError

FORMATS = ("table", "json", "jsonl", "csv", "parquet")
# Takes the names of documents and the probabilities of their classes (documents x classes).
Write = Callable[[Sequence[str], np.ndarray], None]


@dataclass(frozen=True)
class Wanted:
    """What is to be said about each document.

    Args:
        form: one of `FORMATS`.
        threshold: the label is left out where its probability is lower, the best guess stands beside it; None: never.
        top_k: so many of the likeliest classes, in this order; None: all, in the order of the model.
    """

    form: str
    threshold: float | None = None
    top_k: int | None = None


@dataclass(frozen=True)
class Answer:
    """What is said about a document: `label` is None where its probability is below the threshold."""

    document: str
    label: str | None
    guess: str
    shares: dict[str, float]


def select(names: Sequence[str], probabilities: np.ndarray, labels: list[str], wanted: Wanted) -> list[Answer]:
    """Choose what is said about each document; probabilities rounded to 4 decimals, and held against the threshold so.

    Args:
        probabilities: documents x classes.
    """
    rounded = probabilities.astype(np.float64).round(4)
    # By the exact ones, so that the first is the label also where two round to the same.
    ranked = np.argsort(-probabilities, axis=1, kind="stable")
    answers = []
    for name, row, order in zip(names, rounded, ranked, strict=True):
        shown = range(len(labels)) if wanted.top_k is None else order[: wanted.top_k]
        guess = labels[order[0]]
        sure = wanted.threshold is None or row[order[0]] >= wanted.threshold
        shares = {labels[place]: float(row[place]) for place in shown}
        answers.append(Answer(name, guess if sure else None, guess, shares))
    return answers


def tabulate(answers: list[Answer], labels: list[str], wanted: Wanted) -> pl.DataFrame:
    """Return answers as rows: `document_id`, `label`, with a threshold `guess`, then a column for each class.

    With `top_k` pairs of columns take the classes' place: `label_1`, `probability_1`, `label_2` and so on.

    Raises:
        UserError: if a class has the name of another column.
    """
    schema: dict[str, pl.DataType] = {"document_id": pl.String(), "label": pl.String()}
    if wanted.threshold is not None:
        schema["guess"] = pl.String()
    if wanted.top_k is None:
        if taken := sorted(schema.keys() & set(labels)):
            raise UserError(
                f"--format {wanted.form}: a class is called {taken[0]!r}, as a column is: use json, or --top-k"
            )
        schema |= dict.fromkeys(labels, pl.Float64())
    else:
        for place in range(min(wanted.top_k, len(labels))):
            schema |= {f"label_{place + 1}": pl.String(), f"probability_{place + 1}": pl.Float64()}
    rows: list[list[object]] = []
    for answer in answers:
        guess = [] if wanted.threshold is None else [answer.guess]
        pairs = [part for pair in answer.shares.items() for part in pair]
        rows.append([answer.document, answer.label, *guess, *(pairs[1::2] if wanted.top_k is None else pairs)])
    return pl.DataFrame(rows, schema, orient="row")


def to_object(answer: Answer, wanted: Wanted) -> dict[str, object]:
    """Return an answer as a JSON object: `document_id`, `label`, with a threshold `guess`, and `probabilities`."""
    guess = {} if wanted.threshold is None else {"guess": answer.guess}
    return {"document_id": answer.document, "label": answer.label, **guess, "probabilities": answer.shares}


@contextmanager
def writing(out: BinaryIO, labels: list[str], wanted: Wanted, width: int) -> Iterator[Write]:
    """Yield what writes predictions to `out`, part after part.

    Args:
        width: signs of the longest document's name.

    Raises:
        UserError: as `tabulate`.
    """
    if wanted.form == "parquet":
        schema = tabulate([], labels, wanted).to_arrow().schema
        with pq.ParquetWriter(out, schema, compression="zstd", write_statistics=False) as writer:

            def write_rows(names: Sequence[str], probabilities: np.ndarray) -> None:
                writer.write_table(tabulate(select(names, probabilities, labels, wanted), labels, wanted).to_arrow())

            yield write_rows
        return
    if wanted.form == "table":
        wanted = replace(wanted, top_k=wanted.top_k or 1)
    width, written = max(width, len("document")), 0

    def write(names: Sequence[str], probabilities: np.ndarray) -> None:
        nonlocal written
        answers = select(names, probabilities, labels, wanted)
        out.write(_render(answers, labels, wanted, width, first=not written).encode())
        written += len(answers)

    heads = {
        "table": f"{'document':<{width}}  probability  label\n",
        "json": "[",
        "jsonl": "",
        "csv": tabulate([], labels, wanted).write_csv() if wanted.form == "csv" else "",
    }
    out.write(heads[wanted.form].encode())
    yield write
    if wanted.form == "json":
        out.write(b"\n]\n" if written else b"]\n")


def _render(answers: list[Answer], labels: list[str], wanted: Wanted, width: int, first: bool) -> str:
    match wanted.form:
        case "csv":
            return tabulate(answers, labels, wanted).write_csv(include_header=False)
        case "jsonl":
            return "".join(f"{json.dumps(to_object(answer, wanted), ensure_ascii=False)}\n" for answer in answers)
        case "json":
            objects = [json.dumps(to_object(answer, wanted), indent=2, ensure_ascii=False) for answer in answers]
            return "".join(
                f"{',' if place or not first else ''}\n{textwrap.indent(text, '  ')}"
                for place, text in enumerate(objects)
            )
        case _:
            return "".join(_line(answer, width) for answer in answers)


def _line(answer: Answer, width: int) -> str:
    label = f"({answer.guess})" if answer.label is None else answer.guess
    # A file's name may hold what moves a terminal's cursor or ends a line.
    document = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in answer.document)
    first = f"{document:<{width}}  {answer.shares[answer.guess]:11.3f}  {label}"
    others = [f"{share:.3f}  {name}" for name, share in answer.shares.items() if name != answer.guess]
    return "  ".join([first, *others]) + "\n"
