"""Annotating: every usable document a row, duplicates answered once, gold labels measured with and never used."""

import json
import subprocess
from pathlib import Path

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from stages.annotators.sampling import sample
from stages.corpus.tables import ANNOTATIONS, DOCUMENTS, read_table, write_table
from tests.conftest import edit_params, make_corpus, run_stage
from tests.small_annotating import annotated, categories_of, named, params


def from_labels(frame: pl.DataFrame, labels: dict[str, str], **changes: object) -> pl.DataFrame:
    return annotated(frame, {}, labels, params(**changes))


# ---------------------------------------------------------------------------------------------------------------------
# Labels from a file
# ---------------------------------------------------------------------------------------------------------------------


def test_labels_are_looked_up_and_documents_without_one_are_skipped() -> None:
    annotated = from_labels(named("d1", "d2", "d3"), {"d3": "b", "d1": "a", "unknown": "c"})
    assert categories_of(annotated) == {"d1": "a", "d2": None, "d3": "b"}
    assert annotated["status"].to_list() == ["ok", "skipped", "ok"]
    assert annotated["error"].to_list() == [None, "no row in labels.csv", None]
    assert annotated["confidence"].to_list() == [None, None, None]
    assert set(annotated["annotator"]) == {"file"}


def test_a_duplicate_brings_its_own_label_from_the_file() -> None:
    frame = named("d1", "d2", "d3", "d4", twins={"d2": "d1", "d4": "d3"})
    annotated = from_labels(frame, {"d1": "a", "d2": "b", "d4": "c"})
    assert categories_of(annotated) == {"d1": "a", "d2": "b", "d3": None, "d4": "c"}


def test_only_documents_that_can_be_used_get_a_row() -> None:
    annotated = from_labels(named("d1", "d2", unusable=("d2",)), {"d1": "a", "d2": "b"})
    assert categories_of(annotated) == {"d1": "a"}


def test_documents_outside_the_sample_are_skipped() -> None:
    names = [f"d{number}" for number in range(20)]
    annotated = from_labels(named(*names), dict.fromkeys(names, "a"), sample=5)
    assert dict(annotated["status"].value_counts().iter_rows()) == {"ok": 5, "skipped": 15}
    assert set(annotated.filter(status="skipped")["error"]) == {"not in the sample"}
    assert set(annotated.filter(status="ok")["document_id"]) == sample(names, 5, 0)


# ---------------------------------------------------------------------------------------------------------------------
# Sampling
# ---------------------------------------------------------------------------------------------------------------------

IDS = st.sets(st.text(min_size=1), max_size=30)


@given(ids=IDS, size=st.integers(1, 40), seed=st.integers())
def test_a_sample_holds_as_many_as_asked_or_as_there_are(ids: set[str], size: int, seed: int) -> None:
    drawn = sample(sorted(ids), size, seed)
    assert drawn <= ids
    assert len(drawn) == min(size, len(ids))


@given(ids=IDS, new=st.text(min_size=1), size=st.integers(1, 20))
def test_one_more_document_displaces_at_most_one(ids: set[str], new: str, size: int) -> None:
    before, after = sample(sorted(ids), size, 0), sample(sorted(ids | {new}), size, 0)
    assert len(before - after) <= 1
    assert after - before <= {new}


@given(ids=IDS)
def test_a_sample_of_zero_is_all(ids: set[str]) -> None:
    assert sample(sorted(ids), 0, 0) == ids


@given(ids=IDS, size=st.integers(1, 20))
def test_a_larger_sample_holds_the_smaller(ids: set[str], size: int) -> None:
    """Documents that were paid for stay in."""
    assert sample(sorted(ids), size, 0) <= sample(sorted(ids, reverse=True), size + 3, 0)


def test_another_seed_draws_another_sample() -> None:
    ids = [f"d{number}" for number in range(100)]
    assert len({frozenset(sample(ids, 10, seed)) for seed in range(3)}) == 3


# ---------------------------------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------------------------------


def run_annotate(workspace: Path, *names: str, provider: str, **rows: list[str]) -> subprocess.CompletedProcess[str]:
    corpus = make_corpus(workspace / "corpus", {f"{name}.md": name for name in names}, **rows)
    edit_params(workspace / "params.yaml", {"corpus": str(corpus), "annotate.provider": provider})
    write_table(named(*names), DOCUMENTS)
    return run_stage("annotate", cwd=workspace)


def sole_error(ended: subprocess.CompletedProcess[str], workspace: Path) -> str:
    """Return the one line of a failed run, which wrote nothing."""
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert not (workspace / "data/annotated").exists()
    assert not (workspace / "metrics").exists()
    return line.removeprefix("error: ")


def test_the_command_measures_with_gold_and_never_hands_it_on(workspace: Path) -> None:
    """Gold contradicts labels.csv, and knows a document that labels.csv does not."""
    ended = run_annotate(
        workspace,
        *("d1", "d2", "d3", "d4"),
        provider="file",
        categories=["alpha,The first.", "beta,The second."],
        labels=["d1,alpha", "d2,Beta", "d3,gamma", "lost,alpha", "gone,beta"],
        gold=["d1,alpha", "d2,golden", "d4,golden", "lost,golden"],
        examples=["nobody,alpha"],
    )
    assert ended.returncode == 0
    corpus = workspace / "corpus"
    ignored = "ignored, not ids of documents (the path below documents/ without the ending)"
    assert ended.stderr.splitlines() == [
        f"{corpus}/labels.csv: {ignored}: 'gone', 'lost'",
        f"{corpus}/gold.csv: {ignored}: 'lost'",
        f"{corpus}/examples.csv: {ignored}: 'nobody'",
        f"{corpus}/labels.csv: categories that are not in categories.csv: 'gamma'",
        f"{corpus}/gold.csv: categories that are not in categories.csv: 'golden'",
        "annotate: 3 of 4 documents by file",
    ]
    assert categories_of(read_table(ANNOTATIONS)) == {"d1": "alpha", "d2": "Beta", "d3": "gamma", "d4": None}
    assert b"golden" not in ANNOTATIONS.read_bytes()
    metrics = json.loads(Path("metrics/annotate.json").read_text())
    assert metrics == {
        "documents": 4,
        "annotated": 3,
        "failed": 0,
        "failed_by": {},
        "skipped": 1,
        "tokens": {},
        "compared_with_gold": 2,
        "accuracy": 0.5,
        "kappa": 0.3333,
        "per_category": {"alpha": {"documents": 1, "agree": 1.0}, "golden": {"documents": 1, "agree": 0.0}},
        "categories": {"Beta": 1, "alpha": 1, "gamma": 1},
        "unknown_labels": 2,
    }


def test_the_command_names_a_labels_csv_that_labels_nothing(workspace: Path) -> None:
    line = sole_error(run_annotate(workspace, "d1", "d2", provider="file"), workspace)
    assert line == f"annotate: none of the 2 documents has a category: {workspace}/corpus/labels.csv names none of them"


def test_the_command_names_a_provider_that_is_none(workspace: Path) -> None:
    line = sole_error(run_annotate(workspace, "d1", provider="human"), workspace)
    assert line == "params.yaml: annotate.provider: must be 'zero_shot', 'openai' or 'file' (is 'human')"


def test_the_command_names_a_corpus_without_categories(workspace: Path) -> None:
    line = sole_error(run_annotate(workspace, "d1", provider="zero_shot"), workspace)
    assert line == "categories.csv: annotate.provider zero_shot needs at least two categories, one a row"
