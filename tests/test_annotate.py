"""Annotating: every usable document a row, duplicates answered once, gold labels measured with and never used."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.annotate import Annotated, annotate, measure
from stages.annotators.agreement import agreement
from stages.annotators.params import AnnotateParams
from stages.annotators.sampling import sample
from stages.annotators.zero_shot import choose
from stages.corpus.tables import ANNOTATIONS, COLUMNS, DOCUMENTS, read_table, write_table
from stages.files import Metrics
from stages.params import load
from stages.runtime.errors import UserError
from stages.runtime.settings import RuntimeSettings
from tests.conftest import ROOT, edit_params, make_corpus, run_stage

BUNDLED = "bundled:all-MiniLM-L6-v2"
CATEGORIES = {
    "energy": "Electricity, heat and fuel: wind, solar and nuclear power, batteries, the grid.",
    "clinical medicine": "Patients, diagnosis and treatment: drugs, surgery, trials in hospitals.",
    "transport": "Moving people and goods: trains, buses, roads, ships, bicycles, timetables.",
}


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


def from_labels(frame: pl.DataFrame, labels: dict[str, str], **changes: object) -> pl.DataFrame:
    return annotated(frame, {}, labels, params(**changes))


def measured(annotations: pl.DataFrame, gold: pl.DataFrame) -> Metrics:
    return measure(Annotated(annotations, pl.DataFrame(), {}), gold, NO_EXAMPLES)


def categories_of(annotations: pl.DataFrame) -> dict[str, str | None]:
    return dict(annotations.select("document_id", "category").iter_rows())


def answers(given_: dict[str, str | None], *, status: str = "ok") -> pl.DataFrame:
    """Make an annotations table; a document without a category has status `skipped`."""
    return pl.DataFrame(
        {
            "document_id": list(given_),
            "category": pl.Series(list(given_.values()), dtype=pl.String),
            "status": ["skipped" if category is None else status for category in given_.values()],
            "error": pl.Series([None] * len(given_), dtype=pl.String),
        }
    )


# ---------------------------------------------------------------------------------------------------------------------
# Choosing a category
# ---------------------------------------------------------------------------------------------------------------------


def test_the_confidence_is_the_softmax_of_similarity_by_temperature() -> None:
    """e^2 / (e^2 + e^1 + e^0), and e^4 / (e^0 + 2 e^4) where the first of two equals is taken."""
    chosen = choose(["d1", "d2"], np.array([[0.2, 0.1, 0.0], [0.0, 0.4, 0.4]]), ["a", "b", "c"], 0.1)
    assert chosen["category"].to_list() == ["a", "b"]
    assert chosen["confidence"].to_list() == [0.6652, 0.4955]
    assert chosen["status"].to_list() == ["ok", "ok"]
    assert chosen["error"].to_list() == [None, None]


SIMILARITIES = st.lists(st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3), min_size=1, max_size=5)


@given(similarities=SIMILARITIES, temperature=st.floats(0.001, 100))
def test_the_most_similar_category_wins_at_every_temperature(
    similarities: list[list[float]], temperature: float
) -> None:
    similarity = np.array(similarities, dtype=np.float32)
    chosen = choose([str(place) for place in range(len(similarity))], similarity, ["a", "b", "c"], temperature)
    for row, category, confidence in zip(similarity, chosen["category"], chosen["confidence"], strict=True):
        assert row["abc".index(category)] == pytest.approx(row.max(), abs=1e-4)
        assert 0.3333 <= confidence <= 1


def test_a_lower_temperature_changes_the_confidence_and_no_category() -> None:
    similarity = np.array([[0.3, 0.2], [0.1, 0.15]])
    sharp, soft = (choose(["d1", "d2"], similarity, ["a", "b"], temperature) for temperature in (0.01, 1.0))
    assert sharp["category"].equals(soft["category"])
    assert (sharp["confidence"] > soft["confidence"]).all()


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
# Agreement with people
# ---------------------------------------------------------------------------------------------------------------------

NO_EXAMPLES = by_document({})


def test_accuracy_and_kappa_are_those_computed_by_hand() -> None:
    """7 of 10 agree; by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5 would; (0.7 - 0.5) / (1 - 0.5) = 0.4."""
    pairs = ["aa"] * 4 + ["ab"] + ["ba"] * 2 + ["bb"] * 3
    given_ = answers({f"d{place}": pair[0] for place, pair in enumerate(pairs)})
    gold = by_document({f"d{place}": pair[1] for place, pair in enumerate(pairs)})
    assert agreement(given_, gold, NO_EXAMPLES) == {
        "documents": 10,
        "accuracy": 0.7,
        "kappa": 0.4,
        "per_category": {"a": {"documents": 6, "agree": 0.6667}, "b": {"documents": 4, "agree": 0.75}},
    }


def test_kappa_is_null_where_there_is_one_category_only() -> None:
    found = agreement(answers({"d1": "a", "d2": "a"}), by_document({"d1": "a", "d2": "A"}), NO_EXAMPLES)
    assert (found["accuracy"], found["kappa"]) == (1.0, None)


def test_kappa_is_zero_for_an_annotator_with_one_answer() -> None:
    found = agreement(answers({"d1": "a", "d2": "a"}), by_document({"d1": "a", "d2": "b"}), NO_EXAMPLES)
    assert (found["accuracy"], found["kappa"]) == (0.5, 0.0)


def test_examples_are_left_out_of_the_comparison() -> None:
    given_ = answers({"d1": "a", "d2": "b", "d3": "a"})
    found = agreement(given_, by_document({"d1": "a", "d2": "b", "d3": "b"}), by_document({"d3": "b"}))
    assert (found["documents"], found["accuracy"], found["kappa"]) == (2, 1.0, 1.0)


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_documents_without_an_answer_are_left_out_of_the_comparison(status: str) -> None:
    given_ = pl.concat([answers({"d1": "a"}), answers({"d2": "b"}, status=status), answers({"d3": None})])
    assert agreement(given_, by_document({"d1": "a", "d2": "a", "d3": "a"}), NO_EXAMPLES)["documents"] == 1


def test_case_and_spaces_are_forgiven_in_the_comparison() -> None:
    found = agreement(answers({"d1": "Sea  Ice"}), by_document({"d1": " sea ice"}), NO_EXAMPLES)
    assert found["accuracy"] == 1.0


def test_without_a_document_in_common_nothing_is_claimed() -> None:
    given_ = answers({"d1": "a"})
    assert agreement(given_, by_document({"d2": "a"}), NO_EXAMPLES) == {"documents": 0}
    metrics = measured(given_, by_document({}))
    assert metrics["compared_with_gold"] == 0
    assert "kappa" not in metrics
    assert "accuracy" not in metrics


def test_documents_are_counted_by_status_and_category() -> None:
    given_ = pl.concat([answers({"d1": "b", "d2": "a", "d3": "b", "d4": None}), answers({"d5": None})])
    fails = pl.col("document_id") == "d5"
    given_ = given_.with_columns(
        status=pl.when(fails).then(pl.lit("failed")).otherwise("status"),
        error=pl.when(fails).then(pl.lit("refusal: 'no'")),
    )
    metrics = measured(given_, by_document({"d1": "b"}))
    assert (metrics["documents"], metrics["annotated"], metrics["failed"], metrics["skipped"]) == (5, 3, 1, 1)
    assert metrics["failed_by"] == {"refusal": 1}
    assert list(metrics["categories"].items()) == [("a", 1), ("b", 2)]


# ---------------------------------------------------------------------------------------------------------------------
# Zero-shot, with the real model
# ---------------------------------------------------------------------------------------------------------------------

TURBINE = "Offshore wind turbines and a battery at the substation keep the electricity grid in balance."
PATIENTS = "In a randomised trial, patients with pneumonia were treated with a new antibiotic in hospital."
TEXTS = {
    "grid": TURBINE,
    "solar": "Solar panels on the roofs of a village now supply its power at noon.",
    "trial": PATIENTS,
    "surgery": "Surgeons report on the diagnosis and removal of tumours in forty patients.",
    "tram": "The tram line was extended, and buses now follow its timetable.",
    "cycling": "Bicycles and trains share the way to work of half the commuters.",
    "twin": "Solar panels on the roofs of a village now supply its power at noon.",
    "torn": "",
    "long": 20 * f"{TURBINE} " + 60 * f"{PATIENTS} ",
}
USABLE = documents(TEXTS, twins={"twin": "solar"}, unusable=("torn",))


@dataclass(frozen=True)
class Runs:
    """Zero-shot runs: twice over all texts with one store, once over `long` alone with another."""

    first: pl.DataFrame
    second: pl.DataFrame
    alone: pl.DataFrame
    narrow: pl.DataFrame
    stored_first: dict[str, tuple[int, bytes]]
    stored_second: dict[str, tuple[int, bytes]]
    stored_alone: dict[str, tuple[int, bytes]]


def zero_shot(frame: pl.DataFrame, **changes: object) -> pl.DataFrame:
    settings = {"model": BUNDLED, "window_tokens": 256, "temperature": 0.05, **changes}
    return annotated(frame, CATEGORIES, {}, params(provider="zero_shot", zero_shot=settings))


def stored(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return each file below `folder`: which one it is on the disk, and its bytes."""
    return {
        file.relative_to(folder).as_posix(): (file.stat().st_ino, file.read_bytes())
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    one, other = tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PIPELINE_CACHE", str(one))
        first = zero_shot(USABLE)
        stored_first = stored(one)
        second = zero_shot(USABLE)
        stored_second = stored(one)
        environment.setenv("PIPELINE_CACHE", str(other))
        alone = zero_shot(USABLE.filter(document_id="long"))
        stored_alone = stored(other)
        narrow = zero_shot(USABLE.filter(document_id="long"), window_tokens=16)
        yield Runs(first, second, alone, narrow, stored_first, stored_second, stored_alone)


def test_documents_get_the_category_they_are_about(runs: Runs) -> None:
    found = categories_of(runs.first)
    assert {name: found[name] for name in ("grid", "solar", "trial", "surgery", "tram", "cycling")} == {
        "grid": "energy",
        "solar": "energy",
        "trial": "clinical medicine",
        "surgery": "clinical medicine",
        "tram": "transport",
        "cycling": "transport",
    }
    assert set(runs.first["status"]) == {"ok"}
    assert runs.first["confidence"].is_between(1 / 3, 1).all()


def test_a_duplicate_copies_category_and_confidence_of_its_original(runs: Runs) -> None:
    rows = {row[0]: row[1:] for row in runs.first.select("document_id", "category", "confidence").iter_rows()}
    assert rows["twin"] == rows["solar"]
    assert "torn" not in rows


def test_a_long_document_is_read_to_its_end(runs: Runs) -> None:
    """Its first window is about energy, most of what follows about medicine."""
    assert categories_of(runs.first)["long"] == "clinical medicine"


def test_a_documents_vector_depends_on_no_other_document(runs: Runs) -> None:
    assert runs.alone.rows() == runs.first.filter(document_id="long").rows()
    bytes_alone = {name: content for name, (_, content) in runs.stored_alone.items()}
    bytes_among_others = {name: content for name, (_, content) in runs.stored_first.items()}
    assert len(bytes_alone) == 1 + len(CATEGORIES)
    assert bytes_alone.items() <= bytes_among_others.items()


def test_the_window_is_a_setting_that_is_not_answered_from_before(runs: Runs) -> None:
    assert runs.narrow["confidence"].to_list() != runs.alone["confidence"].to_list()


def test_a_second_run_is_answered_from_the_store(runs: Runs) -> None:
    """Whatever is computed is stored anew, in another file."""
    assert len(runs.stored_first) == 7 + len(CATEGORIES)
    assert runs.stored_second == runs.stored_first
    assert runs.second.equals(runs.first)


@pytest.mark.parametrize("categories", [{}, {"energy": "Power and heat."}])
def test_zero_shot_needs_two_categories(categories: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"categories\.csv: .* needs at least two categories"):
        annotated(named("d1"), categories, {}, params(provider="zero_shot"))


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
