"""The annotator zero_shot: the most similar category, each document by itself, computed once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.annotators.zero_shot import choose
from stages.embeddings import Embedder
from stages.runtime.errors import UserError
from tests.small_annotating import annotated, categories_of, documents, named, params

BUNDLED = "bundled:all-MiniLM-L6-v2"
CATEGORIES = {
    "energy": "Electricity, heat and fuel: wind, solar and nuclear power, batteries, the grid.",
    "clinical medicine": "Patients, diagnosis and treatment: drugs, surgery, trials in hospitals.",
    "transport": "Moving people and goods: trains, buses, roads, ships, bicycles, timetables.",
}


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
    settings = {"model": BUNDLED, "revision": "main", "window_tokens": 256, "temperature": 0.05, **changes}
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


def test_a_folder_is_refused_as_dvc_would_not_see_it_change(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"annotate\.zero_shot\.model: .* is a folder"):
        zero_shot(USABLE, model=str(tmp_path))


def test_what_is_no_sentence_encoder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "of no kind"}')
    with pytest.raises(UserError, match="no sentence-transformers model"):
        Embedder(tmp_path, 256, "cpu")
