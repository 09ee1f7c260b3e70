"""Categories become classes: mapped, corrected, joined or dropped, and no document lost on the way unseen."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.classes.names import normal
from stages.corpus.tables import read_table
from stages.merge_classes import Merged
from stages.runtime.errors import UserError
from tests.conftest import edit_params
from tests.small_merging import labels, many, merge, run_merge


def mapping(merged: Merged) -> dict[str, str | None]:
    return dict(merged.classes.iter_rows())


# ---------------------------------------------------------------------------------------------------------------------
# Names
# ---------------------------------------------------------------------------------------------------------------------


def test_without_any_rule_a_category_is_its_own_class() -> None:
    merged = merge({"d1": "energy", "d2": "climate"})
    assert labels(merged) == {"d1": "energy", "d2": "climate"}
    assert mapping(merged) == {"energy": "energy", "climate": "climate"}
    assert merged.decisions["mapped"] == {}


def test_several_categories_become_one_class_with_case_and_spaces_forgiven() -> None:
    merged = merge(
        {"d1": "Wind  power", "d2": "solar", "d3": "climate"}, classes={"wind power": "energy", " SOLAR": "energy"}
    )
    assert labels(merged) == {"d1": "energy", "d2": "energy", "d3": "climate"}
    assert merged.decisions["mapped"]["Wind  power"] == "energy"
    assert merged.labels["category"].to_list() == ["Wind  power", "solar", "climate"]


def test_the_commonest_spelling_names_the_class() -> None:
    merged = merge({"d1": "ENERGY", "d2": "Energy", "d3": "Energy", "d4": "energy "})
    assert set(labels(merged).values()) == {"Energy"}
    assert mapping(merged) == {"ENERGY": "Energy", "Energy": "Energy", "energy ": "Energy"}


def test_spaces_alone_do_not_make_two_spellings() -> None:
    """Three documents say it in lower case, in two ways; two in upper case, in one."""
    merged = merge({"a": "sea ice", "b": "sea ice", "c": "sea  ice", "d": "SEA ICE", "e": "SEA ICE", "f": " SEA ICE "})
    assert set(labels(merged).values()) == {"SEA ICE"}
    merged = merge({"a": "sea ice", "b": "sea  ice", "c": " sea ice", "d": "SEA ICE", "e": "SEA ICE"})
    assert set(labels(merged).values()) == {"sea ice"}


def test_the_spelling_in_classes_csv_goes_before_the_commonest() -> None:
    merged = merge({"d1": "energy", "d2": "energy", "d3": "wind"}, classes={"wind": "Energy"})
    assert labels(merged) == {"d1": "Energy", "d2": "Energy", "d3": "Energy"}


def test_classes_csv_is_followed_one_step() -> None:
    merged = merge({"d1": "wind", "d2": "energy"}, classes={"wind": "energy", "energy": "physics"})
    assert labels(merged) == {"d1": "energy", "d2": "physics"}


def test_one_category_in_two_spellings_with_two_classes_is_named() -> None:
    with pytest.raises(UserError, match=r"classes\.csv: category 'WIND' stands there twice"):
        merge({"d1": "wind"}, classes={"wind": "energy", "WIND": "weather"})


def test_one_category_in_two_spellings_with_one_class_is_fine() -> None:
    merged = merge({"d1": "wind", "d2": "Wind"}, classes={"wind": "energy", "WIND": " Energy"})
    assert len(set(labels(merged).values())) == 1


# ---------------------------------------------------------------------------------------------------------------------
# Rare classes
# ---------------------------------------------------------------------------------------------------------------------


def test_rare_classes_are_joined_into_other() -> None:
    merged = merge({**many("a", 3), **many("b", 2), **many("c", 1)}, min_count=3)
    assert Counter(labels(merged).values()) == {"a": 3, "other": 3}
    assert mapping(merged) == {"a": "a", "b": "other", "c": "other"}
    assert merged.decisions["rare"] == {"joined": {"b": 2, "c": 1}, "min_count": 3}
    assert merged.decisions["classes"] == {"a": 3, "other": 3}


def test_rare_classes_are_dropped_and_stay_in_the_mapping_without_a_label() -> None:
    merged = merge({**many("a", 3), **many("b", 2)}, min_count=3, rare="drop")
    assert labels(merged) == many("a", 3)
    assert mapping(merged) == {"a": "a", "b": None}
    assert merged.decisions["rare"] == {"dropped": {"b": 2}, "min_count": 3}
    assert merged.decisions["documents"] == 3


def test_a_class_of_exactly_min_count_is_not_rare() -> None:
    assert set(labels(merge({**many("a", 3), **many("b", 2)}, min_count=2)).values()) == {"a", "b"}


def test_min_count_looks_at_classes_not_at_categories() -> None:
    merged = merge(
        {**many("a", 1), **many("b", 1), **many("C", 1), "c0": "c"}, classes={"a": "x", "b": "x"}, min_count=2
    )
    assert set(labels(merged).values()) == {"x", "C"}


def test_duplicates_count_once() -> None:
    merged = merge({**many("a", 3), **many("b", 3)}, twins={"b1": "b0", "b2": "b0"}, min_count=2, rare="drop")
    assert labels(merged) == many("a", 3)
    assert merged.decisions["rare"]["dropped"] == {"b": 1}


@pytest.mark.parametrize("spelling", ["other", "Other", " OTHER"])
def test_rare_classes_join_the_category_other_however_it_is_spelt(spelling: str) -> None:
    merged = merge({**many("a", 5), "o1": spelling, "o2": spelling, "o3": spelling, "b": "b"}, min_count=3)
    assert merged.decisions["classes"] == {"a": 5, spelling.strip(): 4}


def test_a_category_other_that_is_rare_itself_is_not_told_as_joined() -> None:
    merged = merge({**many("a", 5), "o": "other", "b": "b"}, min_count=3)
    assert merged.decisions["rare"]["joined"] == {"b": 1}


def test_a_category_other_that_is_rare_is_dropped_like_any_other() -> None:
    merged = merge({**many("a", 5), "o": "other"}, min_count=3, rare="drop")
    assert labels(merged) == many("a", 5)
    assert mapping(merged) == {"a": "a", "other": None}


# ---------------------------------------------------------------------------------------------------------------------
# Overrides
# ---------------------------------------------------------------------------------------------------------------------


def test_an_override_replaces_the_class_and_keeps_the_category() -> None:
    merged = merge({"d1": "energy", "d2": "climate"}, overrides={"d1": " CLIMATE "})
    assert labels(merged) == {"d1": "climate", "d2": "climate"}
    assert merged.labels["category"].to_list() == ["energy", "climate"]


def test_overrides_are_counted_by_what_they_did() -> None:
    merged = merge({"d1": "a", "d2": "b", "d3": "a"}, overrides={"d1": "b", "d2": "B", "d3": "new", "nowhere": "a"})
    assert labels(merged) == {"d1": "b", "d2": "b", "d3": "new"}
    assert merged.decisions["overrides"] == {
        "applied": 3,
        "changed": 2,
        "new_classes": ["new"],
        "unknown_documents": ["nowhere"],
    }


def test_overrides_agree_on_the_spelling_of_a_new_class() -> None:
    merged = merge(many("a", 5), overrides={"a0": "New class", "a1": "new  class", "a2": "new class"})
    assert merged.decisions["overrides"]["new_classes"] == ["new class"]
    assert merged.decisions["classes"] == {"a": 2, "new class": 3}


def test_an_override_gives_a_skipped_document_a_label_and_no_category() -> None:
    merged = merge({"d1": "a", "d2": None}, overrides={"d2": "a"})
    assert merged.labels.rows() == [("d1", "a", "a"), ("d2", None, "a")]


def test_an_override_of_a_document_that_could_not_be_read_does_not_make_it_learned_from() -> None:
    """It is in the corpus, and so among the groups, but was never annotated."""
    merged = merge({"d1": "a"}, twins={"damaged": "damaged"}, overrides={"damaged": "a"})
    assert labels(merged) == {"d1": "a"}
    assert merged.decisions["overrides"]["unknown_documents"] == ["damaged"]


@pytest.mark.parametrize("corrected", ["d1", "d2", "d3"])
def test_an_override_of_one_duplicate_reaches_all(corrected: str) -> None:
    merged = merge(
        {"d1": "a", "d2": "a", "d3": "a", "d4": "a"}, twins={"d2": "d1", "d3": "d1"}, overrides={corrected: "b"}
    )
    assert labels(merged) == {"d1": "b", "d2": "b", "d3": "b", "d4": "a"}
    assert merged.decisions["overrides"]["applied"] == 1


def test_an_override_settles_duplicates_that_contradict_each_other() -> None:
    merged = merge({"d1": "a", "d2": "b"}, twins={"d2": "d1"}, overrides={"d2": "a"})
    assert labels(merged) == {"d1": "a", "d2": "a"}
    assert merged.decisions["contradicting_duplicates"] == []


def test_overrides_of_duplicates_that_contradict_each_other_leave_all_out() -> None:
    merged = merge({**many("a", 4), "z": "b"}, twins={"a1": "a0", "a2": "a0"}, overrides={"a0": "x", "a1": "y"})
    assert labels(merged) == {"a3": "a", "z": "b"}
    assert merged.decisions["contradicting_duplicates"] == [["a0", "a1", "a2"]]


def test_a_class_made_by_overrides_alone_can_be_rare() -> None:
    merged = merge(many("a", 5), overrides={"a0": "new"}, min_count=2)
    assert merged.decisions["classes"] == {"a": 4, "other": 1}


# ---------------------------------------------------------------------------------------------------------------------
# Contradictions and properties
# ---------------------------------------------------------------------------------------------------------------------


def test_duplicates_under_different_classes_are_left_out_and_named() -> None:
    merged = merge({"d1": "a", "d2": "b", "d3": "a", "d4": "b", "d5": "a"}, twins={"d4": "d1"})
    assert labels(merged) == {"d2": "b", "d3": "a", "d5": "a"}
    assert merged.decisions["contradicting_duplicates"] == [["d1", "d4"]]


def test_duplicates_under_categories_of_one_class_do_not_contradict_each_other() -> None:
    merged = merge({"d1": "wind", "d2": "solar"}, twins={"d2": "d1"}, classes={"wind": "energy", "solar": "energy"})
    assert labels(merged) == {"d1": "energy", "d2": "energy"}


def test_duplicates_under_different_rare_classes_contradict_each_other_though_both_would_be_other() -> None:
    merged = merge({**many("a", 3), "d1": "b", "d2": "c"}, twins={"d2": "d1"}, min_count=2)
    assert labels(merged) == many("a", 3)


NAMES = st.sampled_from(["wind", "Wind", " wind", "solar", "SOLAR", "sea ice", "Sea  ice", "other", "Other", "b"])
CLASSES = st.sampled_from(["energy", "Energy", "ice", "wind", "Other", "new"])
DOCUMENTS_STRATEGY = st.sampled_from([f"d{number}" for number in range(10)])
CASES = st.fixed_dictionaries(
    {
        "categories": st.dictionaries(DOCUMENTS_STRATEGY, st.none() | NAMES, min_size=1),
        "group": st.dictionaries(DOCUMENTS_STRATEGY, st.sampled_from(["d0", "d1", "d2"])),
        "classes": st.dictionaries(st.sampled_from(["wind", "solar", "SEA ICE", "b", "unused"]), CLASSES),
        "overrides": st.dictionaries(DOCUMENTS_STRATEGY | st.just("nowhere"), CLASSES | NAMES),
        "min_count": st.integers(1, 4),
        "rare": st.sampled_from(["other", "drop"]),
    }
)


def merge_case(case: dict[str, Any]) -> Merged:
    categories = case["categories"]
    twins = {
        name: first
        for name, first in case["group"].items()
        if {name, first} <= set(categories) and first not in case["group"]
    }
    keys = ("classes", "overrides", "min_count", "rare")
    return merge(categories, twins=twins, **{key: case[key] for key in keys})


@given(CASES)
@settings(max_examples=200)
def test_every_labelled_document_has_a_label_or_is_rare_or_in_dispute(case: dict[str, Any]) -> None:
    merged = merge_case(case)
    found = set(labels(merged))
    corrected = set(case["overrides"]) & set(case["categories"])
    labelled = {name for name, category in case["categories"].items() if category is not None} | corrected
    disputed = {name for group in merged.decisions["contradicting_duplicates"] for name in group}
    dropped = labelled - disputed - found
    assert found | disputed <= labelled
    assert found.isdisjoint(disputed)
    assert bool(dropped) == bool(merged.decisions["rare"].get("dropped"))
    for name in dropped - corrected - {*case["group"], *case["group"].values()}:
        assert mapping(merged)[case["categories"][name]] is None


@given(CASES)
@settings(max_examples=200)
def test_the_tables_and_counts_agree(case: dict[str, Any]) -> None:
    merged = merge_case(case)
    found, counted = labels(merged), merged.decisions["classes"]
    assert merged.labels["document_id"].is_sorted()
    assert Counter(found.values()) == counted
    assert merged.decisions["documents"] == len(found)
    assert set(mapping(merged)) >= {name for name in case["categories"].values() if name is not None}
    assert len({normal(name) for name in counted}) == len(counted)
    keeps = {name: size for name, size in counted.items() if normal(name) != "other" or case["rare"] == "drop"}
    assert all(size >= case["min_count"] for size in keeps.values())
    for name in counted:
        assert normal(name) in {normal(label) for label in mapping(merged).values() if label is not None} | {
            "other",
            *(normal(label) for label in case["overrides"].values()),
        }


@given(CASES, st.randoms())
@settings(max_examples=100)
def test_the_order_of_rows_does_not_matter(case: dict[str, Any], chance: Any) -> None:
    def shuffled(pairs: dict[str, Any]) -> dict[str, Any]:
        return dict(chance.sample(sorted(pairs.items(), key=lambda pair: pair[0]), len(pairs)))

    other = {key: shuffled(value) if isinstance(value, dict) else value for key, value in case.items()}
    one, two = merge_case(case), merge_case(other)
    assert one.labels.equals(two.labels)
    assert one.classes.sort("category").equals(two.classes.sort("category"))
    assert json.dumps(one.decisions) == json.dumps(two.decisions)


# ---------------------------------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------------------------------


def wrote_nothing(workspace: Path) -> bool:
    return not (workspace / "data/merged").exists() and not (workspace / "metrics").exists()


def test_the_command_writes_its_tables_and_names_what_it_left_out(workspace: Path) -> None:
    edit_params(workspace / "params.yaml", {"merge_classes.min_count": 2})
    ended = run_merge(
        workspace,
        {**many("a", 3), **many("b", 2), "c0": "c", "twin": "b"},
        twins={"twin": "c0"},
        overrides=["a2,fresh", "nowhere,a"],
    )
    assert ended.returncode == 0
    assert ended.stderr.splitlines() == [
        f"{workspace}/corpus/overrides.csv: unknown or unreadable documents: 'nowhere'",
        f"{workspace}/corpus/overrides.csv: classes nothing else has: 'fresh'",
        "left out: the same document under different labels: 'c0', 'twin'",
        "joined into 'other', as fewer than merge_classes.min_count (2) documents: 'fresh' (1)",
        "merge_classes: 5 documents in 3 classes",
    ]
    assert read_table(Path("data/merged/classes.parquet")).rows() == [("a", "a"), ("b", "b"), ("c", "c")]
    assert json.loads(Path("metrics/merge_classes.json").read_text())["classes"] == {"a": 2, "b": 2, "other": 1}
    assert Path("metrics/merge_classes/after.csv").read_text() == "class,documents\na,2\nb,2\nother,1\n"


def test_the_command_says_so_when_no_document_is_left(workspace: Path) -> None:
    edit_params(workspace / "params.yaml", {"merge_classes.rare": "drop"})
    ended = run_merge(workspace, many("a", 4))
    assert ended.returncode == 1
    rare, line = ended.stderr.splitlines()
    assert rare == "left out, as fewer than merge_classes.min_count (5) documents: 'a' (4)"
    assert line.startswith("error: merge_classes: no document is left: lower merge_classes.min_count")
    assert wrote_nothing(workspace)


def test_the_command_names_a_category_with_two_classes(workspace: Path) -> None:
    ended = run_merge(workspace, many("a", 5), classes=["a,x", "A,y"])
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: classes.csv: category 'A' stands there twice")
    assert wrote_nothing(workspace)
