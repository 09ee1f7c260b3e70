"""Documents, labels and settings in a few words, for the tests of annotators."""

import polars as pl

from stages.annotate import annotate
from stages.annotators.params import AnnotateParams
from stages.corpus.tables import COLUMNS, DOCUMENTS
from stages.params import load
from stages.runtime.settings import RuntimeSettings
from tests.conftest import ROOT


def documents(
    texts: dict[str, str], *, twins: dict[str, str] | None = None, unusable: tuple[str, ...] = ()
) -> pl.DataFrame:
    """Make a documents table; `twins` are duplicates, by the original's name, `unusable` ones are damaged."""
    originals = twins or {}
    frame = pl.DataFrame(
        {
            "document_id": list(texts),
            "text": list(texts.values()),
            "status": ["damaged" if name in unusable else "duplicate" if name in originals else "ok" for name in texts],
            "duplicate_of": pl.Series([originals.get(name) for name in texts], dtype=pl.String),
        }
    )
    absent = {name: kind for name, kind in COLUMNS[DOCUMENTS.name].items() if name not in frame.columns}
    return frame.with_columns(pl.lit(None, kind).alias(name) for name, kind in absent.items())


def named(*names: str, **options: object) -> pl.DataFrame:
    return documents({name: f"text of {name}" for name in names}, **options)  # type: ignore[arg-type]


def table(first: str, second: str, rows: dict[str, str]) -> pl.DataFrame:
    return pl.DataFrame({first: list(rows), second: list(rows.values())}, {first: pl.String, second: pl.String})


def by_document(rows: dict[str, str]) -> pl.DataFrame:
    return table("document_id", "category", rows)


def params(**changes: object) -> AnnotateParams:
    return AnnotateParams.model_validate({**load(ROOT / "params.yaml")["annotate"], "provider": "file", **changes})


def annotated(
    frame: pl.DataFrame, categories: dict[str, str], labels: dict[str, str], settings: AnnotateParams
) -> pl.DataFrame:
    runtime = RuntimeSettings.model_validate({**load(ROOT / "params.yaml")["runtime"], "device": "cpu"})
    described = table("category", "description", categories)
    return annotate(frame.lazy(), described, by_document(labels), by_document({}), settings, runtime).annotations


def categories_of(annotations: pl.DataFrame) -> dict[str, str | None]:
    return dict(annotations.select("document_id", "category").iter_rows())
