"""Reading what the stages have left behind. A file that is not there yet is None; one that is broken is an error."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from pydantic import BaseModel, ValidationError

from stages.corpus.tables import ANNOTATIONS, SPLIT, read_texts, scan_table
from stages.params import PARAMS_FILE, Params, load
from stages.reporting.lock import find_changed, find_outdated, read_lock
from stages.reporting.metrics import Annotate, Evaluate, Extract, MergeClasses, Split, Train
from stages.runtime.errors import UserError

METRICS = Path("metrics")
CURVES = METRICS / "train/plots/metrics"
MODEL = Path("models/classifier")

text, real, whole = pl.String(), pl.Float64(), pl.Int64()
TABLES: dict[str, dict[str, pl.DataType]] = {
    "evaluate/confusion.csv": {"actual": text, "predicted": text},
    "evaluate/errors.csv": {"document_id": text, "given": text, "predicted": text, "probability": real},
    "evaluate/reliability.csv": {"confidence": real, "accuracy": real, "documents": whole, "scaling": text},
    "evaluate/coverage.csv": {"threshold": real, "coverage": real, "accuracy": real},
    "evaluate/learning_curve.csv": {"documents": real, "macro_f1": real, "low": real, "high": real},
    "evaluate/label_suspects.csv": {
        "document_id": text,
        "given": text,
        "suggested": text,
        "confidence": real,
        "side": text,
    },
    "evaluate/least_confident.csv": {"document_id": text, "given": text, "predicted": text, "probability": real},
    "evaluate/class_overlaps.csv": {
        "class": text,
        "other": text,
        "documents": whole,
        "share": real,
        "suggestion": text,
    },
    "extract/lengths.csv": {"tokens": text, "documents": whole},
}
# Documents that are shown with their text, and of each how many characters.
SHOWN = {"evaluate/errors.csv": 12, "evaluate/label_suspects.csv": 12}
CHARACTERS = 1500

Row = dict[str, Any]
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Sources:
    """Everything that the report shows.

    Attributes:
        tables: rows by the file's path below metrics/; a file that is missing is not in it.
        curves: steps and values of the training history by name (`train/loss`).
        texts: the beginnings of the documents that are shown with their text.
        annotators: who labelled, and how many documents each.
        changed: files below metrics/ that are not what the last `dvc repro` left.
        outdated: params whose value is not the one of the last run: key, that value, the present one.
    """

    params: Params
    params_text: str
    extract: Extract | None
    annotate: Annotate | None
    merge_classes: MergeClasses | None
    split: Split | None
    train: Train | None
    evaluate: Evaluate | None
    tables: Mapping[str, list[Row]]
    curves: Mapping[str, list[tuple[float, float]]]
    texts: Mapping[str, str]
    annotators: Mapping[str, int]
    provenance: Mapping[str, Any] | None
    hashes: list[tuple[str, str, str]]
    changed: list[str]
    outdated: list[tuple[str, object, object]]


def read_sources() -> Sources:
    """Read the files of the current folder.

    Raises:
        UserError: if one of them is there and cannot be read, naming it and what to do.
    """
    params = load()
    tables = {name: rows for name in TABLES if (rows := read_rows(METRICS / name, TABLES[name])) is not None}
    shown = [row["document_id"] for name, most in SHOWN.items() for row in tables.get(name, [])[:most]]
    lock = read_lock()
    return Sources(
        params=params,
        params_text=PARAMS_FILE.read_text(encoding="utf-8"),
        extract=_read_metrics("extract", Extract),
        annotate=_read_metrics("annotate", Annotate),
        merge_classes=_read_metrics("merge_classes", MergeClasses),
        split=_read_metrics("split", Split),
        train=_read_metrics("train", Train),
        evaluate=_read_metrics("evaluate", Evaluate),
        tables=tables,
        curves=_read_curves(),
        texts=_read_beginnings(shown),
        annotators=_count_annotators(),
        provenance=read_json(MODEL / "provenance.json"),
        hashes=[(stage, out.path, out.md5) for stage, kept in lock.stages.items() for out in kept.outs if out.md5],
        changed=find_changed(lock, METRICS, MODEL),
        outdated=find_outdated(lock, params),
    )


def read_rows(path: Path, columns: Mapping[str, pl.DataType], separator: str = ",") -> list[Row] | None:
    """Read a CSV file with (at least) these columns; None if it is missing.

    Raises:
        UserError: if it cannot be read so.
    """
    try:
        frame = pl.read_csv(path, separator=separator, infer_schema=False, schema_overrides=columns).select(*columns)
    except FileNotFoundError:
        return None
    except pl.exceptions.PolarsError as fault:
        raise _broken(path, str(fault).splitlines()[0]) from None
    frame = frame.with_columns(pl.col(pl.String).fill_null(""))
    if empty := [name for name, count in frame.null_count().to_dicts()[0].items() if count]:
        raise _broken(path, f"{empty[0]} is empty in a row")
    return frame.to_dicts()


def _broken(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} cannot be read ({why}): `git checkout -- {path}` or `dvc checkout` brings the last one back"
    )


def read_json(path: Path) -> Mapping[str, Any] | None:
    """Read a JSON file that holds an object; None if it is missing.

    Raises:
        UserError: if it cannot be read so.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as fault:
        raise _broken(path, str(fault)) from None
    if not isinstance(found, dict):
        raise _broken(path, "it holds no object")
    return found


def _read_metrics(stage: str, schema: type[M]) -> M | None:
    path = METRICS / f"{stage}.json"
    found = read_json(path)
    try:
        return None if found is None else schema.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        raise _broken(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _read_curves() -> dict[str, list[tuple[float, float]]]:
    curves = {}
    for path in sorted(CURVES.rglob("*.tsv")):
        rows = read_rows(path, {"step": real, path.stem: real}, separator="\t") or []
        curves[path.relative_to(CURVES).with_suffix("").as_posix()] = [(row["step"], row[path.stem]) for row in rows]
    return curves


def _read_beginnings(wanted: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    missing = set(wanted)
    for side in ("test", "train", "validation"):
        path = SPLIT / f"{side}.parquet"
        if missing and path.is_file():
            for document, content in read_texts(scan_table(path), missing):
                # One character more than is shown tells that there is more.
                found[document] = content[: CHARACTERS + 1]
            missing -= found.keys()
    return found


def _count_annotators() -> dict[str, int]:
    if not ANNOTATIONS.is_file():
        return {}
    rows = scan_table(ANNOTATIONS).filter(pl.col("status") == "ok").select("annotator").collect()
    return dict(rows["annotator"].value_counts().sort("count", "annotator", descending=[True, False]).iter_rows())
