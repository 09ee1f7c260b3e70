"""Sides: stratified, stable, complete, and never the same document on two of them."""

import subprocess
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.corpus.tables import COLUMNS, DOCUMENTS, LABELS, read_table, write_table
from stages.runtime.errors import UserError
from stages.split import split
from stages.splitting.assign import SIDES, Side, assign
from stages.splitting.near_duplicates import phrases, similarities
from stages.splitting.params import SplitParams
from tests.conftest import edit_params, make_corpus, run_stage
from tests.test_near_duplicates import BASE, change

DEFAULT = SplitParams(test_size=0.1, validation_size=0.1, gold_in_test=True, near_duplicate=0.7, seed=0)


def params(**changes: object) -> SplitParams:
    return SplitParams(**{**DEFAULT.model_dump(), **changes})


def corpus_of(**sizes: int) -> dict[str, str]:
    """Return labels of documents without duplicates: `corpus_of(a=3)` is a0, a1, a2, each of class a."""
    return {f"{label}{number}": label for label, size in sizes.items() for number in range(size)}


def alone(labels: dict[str, str]) -> dict[str, str]:
    """Return the groups of documents of which none is a duplicate."""
    return {name: name for name in labels}


def sides_of(labels: dict[str, str], settings_: SplitParams = DEFAULT) -> dict[str, Side]:
    return assign(labels, alone(labels), settings_)


def moved(before: dict[str, Side], after: dict[str, Side]) -> list[str]:
    """Return the documents of both that changed sides."""
    return [name for name in before if name in after and before[name] != after[name]]


def count(labels: dict[str, str], sides: dict[str, Side], label: str) -> Counter[Side]:
    return Counter(side for name, side in sides.items() if labels[name] == label)


def documents(texts: dict[str, str], duplicate_of: dict[str, str] | None = None) -> pl.DataFrame:
    """Make a documents table of the given texts."""
    twins = duplicate_of or {}
    frame = pl.DataFrame(
        {
            "document_id": list(texts),
            "text": list(texts.values()),
            "status": ["duplicate" if name in twins else "ok" for name in texts],
            "duplicate_of": pl.Series([twins.get(name) for name in texts], dtype=pl.String),
        }
    )
    missing = {name: kind for name, kind in COLUMNS["documents.parquet"].items() if name not in frame.columns}
    return frame.with_columns(pl.lit(None, kind).alias(name) for name, kind in missing.items())


def labels_table(labels: dict[str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        {"document_id": list(labels), "category": list(labels.values()), "label": list(labels.values())}
    )


def filler(labels: dict[str, str]) -> dict[str, str]:
    """Return a text for each document that shares no phrase with any other."""
    return {name: " ".join(f"{name}x{place}" for place in range(12)) for name in labels}


def split_sides(table: pl.DataFrame) -> dict[str, str]:
    return dict(table.select("document_id", "side").iter_rows())


# ---------------------------------------------------------------------------------------------------------------------
# Shares
# ---------------------------------------------------------------------------------------------------------------------

SIZES = st.dictionaries(st.sampled_from("abcde"), st.integers(3, 40), min_size=2)
SHARES = st.floats(0.01, 0.45)


@given(sizes=SIZES, test=SHARES, validation=SHARES, seed=st.integers())
def test_every_document_has_one_side_and_every_class_its_share(
    sizes: dict[str, int], test: float, validation: float, seed: int
) -> None:
    labels = corpus_of(**sizes)
    sides = sides_of(labels, params(test_size=test, validation_size=validation, seed=seed))
    assert set(sides) == set(labels)
    for label, size in sizes.items():
        found = count(labels, sides, label)
        assert all(found[side] >= 1 for side in SIDES)
        shares: dict[Side, float] = {"test": test, "validation": validation}
        for side, share in shares.items():
            assert abs(found[side] - share * size) <= 1


@pytest.mark.parametrize(
    ("size", "share", "expected"),
    [(3, 0.1, 1), (10, 0.1, 1), (14, 0.1, 1), (16, 0.1, 2), (100, 0.1, 10), (12, 0.3, 4), (3, 0.4, 1), (100, 0.01, 1)],
)
def test_a_share_is_rounded_to_whole_documents_and_never_to_none(size: int, share: float, expected: int) -> None:
    labels = corpus_of(a=size, b=size)
    found = count(labels, sides_of(labels, params(test_size=share)), "a")
    assert found["test"] == expected


def test_large_shares_leave_each_side_a_document() -> None:
    labels = corpus_of(a=3, b=50)
    sides = sides_of(labels, params(test_size=0.85, validation_size=0.1))
    assert count(labels, sides, "a") == {"test": 1, "validation": 1, "train": 1}
    assert count(labels, sides, "b") == {"test": 42, "validation": 5, "train": 3}


@given(st.data())
@settings(max_examples=60)
def test_groups_of_any_size_share_a_side_and_every_class_is_on_each(data: st.DataObject) -> None:
    """At least three groups of each class are pure, so that no class is too small."""
    labels = corpus_of(a=12, b=9)
    group = {name: data.draw(st.sampled_from(["g0", "g1", "g2", name])) for name in labels if int(name[1:]) > 2}
    groups = {name: group.get(name, name) for name in labels}
    sides = assign(labels, groups, params(seed=data.draw(st.integers(0, 5))))
    assert all(len({sides[name] for name in labels if groups[name] == one}) == 1 for one in groups.values())
    assert all(count(labels, sides, label)[side] >= 1 for label in "ab" for side in SIDES)


# ---------------------------------------------------------------------------------------------------------------------
# Stability
# ---------------------------------------------------------------------------------------------------------------------


@given(sizes=SIZES, new=st.text(min_size=1), label=st.sampled_from("abcde"))
def test_one_more_document_moves_at_most_three_border_cases_of_its_class(
    sizes: dict[str, int], new: str, label: str
) -> None:
    """One at the border of the test set; two at that of train, where both other sides may grow by one."""
    labels = corpus_of(**{label: 3} | sizes)
    if new in labels:
        return
    before, after = sides_of(labels), sides_of({**labels, new: label})
    assert len(moved(before, after)) <= 3
    assert {labels[name] for name in moved(before, after)} <= {label}


@given(sizes=SIZES, data=st.data())
def test_one_changed_label_moves_at_most_border_cases_of_both_classes(
    sizes: dict[str, int], data: st.DataObject
) -> None:
    labels = corpus_of(**{label: size + 1 for label, size in sizes.items()})
    document = data.draw(st.sampled_from(sorted(labels)))
    label = data.draw(st.sampled_from(sorted(set(sizes) - {labels[document]})))
    before, after = sides_of(labels), sides_of({**labels, document: label})
    others = [name for name in moved(before, after) if name != document]
    assert len(others) <= 6
    assert {labels[name] for name in others} <= {labels[document], label}


def test_a_hundred_new_documents_leave_most_of_the_test_set_in_place() -> None:
    """Twice the documents, twice the test set: about half of the old one's places go to new documents."""
    few, many = corpus_of(a=100, b=100), corpus_of(a=200, b=200)
    before, after = sides_of(few), sides_of(many)
    assert len(moved(before, after)) < 40
    fresh = sides_of(few, params(seed=1))
    assert len(moved(before, after)) < len(moved(before, fresh))


@given(order=st.permutations(sorted(corpus_of(a=8, b=8))))
@settings(max_examples=30)
def test_the_order_of_rows_does_not_matter(order: list[str]) -> None:
    labels = corpus_of(a=8, b=8)
    groups = alone(labels) | {"a1": "a0", "b5": "b2"}
    shuffled = {name: labels[name] for name in order}
    sides = assign(labels, groups, DEFAULT, gold=["a7", "b1"], examples=["a2"])
    again = assign(shuffled, {name: groups[name] for name in order}, DEFAULT, gold=["b1", "a7"], examples=["a2"])
    assert list(sides.items()) == list(again.items())


def test_another_seed_gives_another_split() -> None:
    labels = corpus_of(a=50, b=50)
    splits = [sides_of(labels, params(seed=seed)) for seed in range(3)]
    assert len({frozenset(name for name in labels if sides[name] == "test") for sides in splits}) == 3


# ---------------------------------------------------------------------------------------------------------------------
# Gold, examples, small classes
# ---------------------------------------------------------------------------------------------------------------------


def test_gold_documents_are_first_in_line_for_the_test_set() -> None:
    labels = corpus_of(a=30, b=30)
    gold = ["a3", "a4", "b5"]
    sides = assign(labels, alone(labels), DEFAULT, gold=gold)
    assert {sides[name] for name in gold} == {"test"}
    assert count(labels, sides, "a")["test"] == 3


def test_more_gold_than_the_test_set_holds_fills_validation_next() -> None:
    labels = corpus_of(a=30, b=30)
    gold = [f"a{number}" for number in range(5)]
    sides = assign(labels, alone(labels), DEFAULT, gold=gold)
    assert sorted(sides[name] for name in gold) == ["test"] * 3 + ["validation"] * 2


def test_without_gold_in_test_a_gold_label_changes_nothing() -> None:
    labels = corpus_of(a=30, b=30)
    gold = [f"a{number}" for number in range(30)]
    off = params(gold_in_test=False)
    assert assign(labels, alone(labels), off, gold=gold) == assign(labels, alone(labels), off)


@given(examples=st.sets(st.sampled_from(sorted(corpus_of(a=12, b=12))), max_size=8), seed=st.integers(0, 3))
def test_examples_and_their_duplicates_are_always_learned_from(examples: set[str], seed: int) -> None:
    """Gold labels do not pull them into the test set."""
    labels = corpus_of(a=12, b=12)
    groups = alone(labels) | {"a1": "a0", "b1": "b0"}
    sides = assign(labels, groups, params(seed=seed), gold=sorted(examples), examples=sorted(examples))
    assert {sides[name] for name in labels if groups[name] in {groups[example] for example in examples}} <= {"train"}
    assert all(count(labels, sides, label)[side] >= 1 for label in "ab" for side in SIDES)


def test_what_is_like_an_example_without_a_label_is_learned_from() -> None:
    labels = corpus_of(a=10, b=10)
    texts = filler(labels) | {"a0": " ".join(BASE), "shown": " ".join(change(BASE, 10))}
    for seed in range(10):
        table, metrics = split(documents(texts).lazy(), labels_table(labels), [], ["shown"], params(seed=seed))
        assert split_sides(table)["a0"] == "train"
        assert metrics["near_duplicates"] == []


def test_examples_and_gold_of_documents_without_a_label_are_nobodys_concern() -> None:
    labels = corpus_of(a=10, b=10)
    assert assign(labels, alone(labels), DEFAULT, gold=["no"], examples=["none"]) == sides_of(labels)


def test_a_class_of_two_is_too_small_and_named() -> None:
    with pytest.raises(UserError, match=r"class 'b' has 2 distinct documents \(0 of them few-shot"):
        sides_of(corpus_of(a=10, b=2))


def test_a_class_of_duplicates_is_as_small_as_its_distinct_documents() -> None:
    labels = corpus_of(a=10, b=10)
    groups = alone(labels) | {f"b{number}": f"b{number % 2}" for number in range(10)}
    with pytest.raises(UserError, match="class 'b' has 2 distinct documents"):
        assign(labels, groups, DEFAULT)


def test_a_class_of_three_with_two_examples_is_too_small() -> None:
    labels = corpus_of(a=10, b=3)
    with pytest.raises(UserError, match=r"class 'b' has 3 distinct documents \(2 of them few-shot"):
        assign(labels, alone(labels), DEFAULT, examples=["b0", "b1"])


def test_a_class_of_three_with_one_example_trains_on_the_example() -> None:
    labels = corpus_of(a=10, b=3)
    sides = assign(labels, alone(labels), DEFAULT, examples=["b1"])
    assert sorted(sides[name] for name in ("b0", "b1", "b2")) == ["test", "train", "validation"]
    assert sides["b1"] == "train"


def test_a_class_found_only_beside_duplicates_of_another_is_named() -> None:
    """Each of its documents sits in a group that counts as the other class: no side is certain to hold it."""
    labels = corpus_of(a=10, b=4)
    groups = alone(labels) | {f"b{number}": f"a{number}" for number in range(4)}
    with pytest.raises(UserError, match="class 'b' has 0 distinct documents"):
        assign(labels, groups, DEFAULT)


def test_a_single_class_is_named() -> None:
    with pytest.raises(UserError, match=r"all documents are in one class \('a'\)"):
        sides_of(corpus_of(a=10))


# ---------------------------------------------------------------------------------------------------------------------
# Duplicates and near-duplicates
# ---------------------------------------------------------------------------------------------------------------------


def test_near_duplicates_and_chains_of_them_share_a_side_at_every_seed() -> None:
    """a5 ~ a6 ~ a7, where a5 and a7 alone would be told apart."""
    labels = corpus_of(a=10, b=10)
    texts = filler(labels)
    middle = change(BASE, 10, 30, 50)
    texts |= {"a5": " ".join(BASE), "a6": " ".join(middle), "a7": " ".join(change(middle, 20, 60, 80))}
    assert similarities(phrases(texts["a5"]), [phrases(texts["a7"])]) < 0.7
    seen = set()
    for seed in range(20):
        table, metrics = split(documents(texts).lazy(), labels_table(labels), [], [], params(seed=seed))
        sides = split_sides(table)
        assert sides["a5"] == sides["a6"] == sides["a7"]
        assert metrics["near_duplicates"] == [["a5", "a6", "a7"]]
        seen.add(sides["a5"])
    assert seen == set(SIDES)


def test_exact_duplicates_share_a_side_with_near_duplicates_of_their_original() -> None:
    """a1 is a duplicate of a0, which is no labelled document itself; b3 is nearly the same as a0."""
    labels = {name: label for name, label in corpus_of(a=10, b=10).items() if name != "a0"}
    texts = filler(corpus_of(a=10, b=10))
    texts |= {"a0": " ".join(BASE), "a1": " ".join(BASE), "a2": " ".join(BASE), "b3": " ".join(change(BASE, 10))}
    frame = documents(texts, {"a1": "a0", "a2": "a0"})
    for seed in range(10):
        table, metrics = split(frame.lazy(), labels_table(labels), [], [], params(seed=seed))
        sides = split_sides(table)
        assert sides["a1"] == sides["a2"] == sides["b3"]
        assert metrics["exact_duplicates"] == 2


def test_the_order_of_rows_does_not_matter_where_duplicates_have_texts_of_their_own() -> None:
    """Metadata is part of a text: duplicates may differ in it."""
    labels = corpus_of(a=10, b=10)
    texts = filler(labels)
    texts |= {"a0": " ".join(BASE), "a1": " ".join(change(BASE, *range(0, 100, 5))), "b0": " ".join(BASE)}
    frame, table = documents(texts, {"a1": "a0"}), labels_table(labels)
    one, metrics = split(frame.lazy(), table, [], [], DEFAULT)
    other, again = split(frame.reverse().lazy(), table.reverse(), [], [], DEFAULT)
    assert one.sort("document_id").equals(other.sort("document_id"))
    assert metrics == again
    assert metrics["near_duplicates"] == [["a0", "b0"]]


def test_what_is_split_is_counted() -> None:
    labels = corpus_of(a=20, b=10)
    table, metrics = split(documents(filler(labels)).lazy(), labels_table(labels), ["a1", "b1", "zz"], [], DEFAULT)
    sides = split_sides(table)
    assert (
        {side: metrics[side] for side in SIDES} == Counter(sides.values()) == {"test": 3, "validation": 3, "train": 24}
    )
    assert metrics["gold_in_test"] == 2
    assert metrics["classes"] == {
        "a": {"train": 16, "validation": 2, "test": 2},
        "b": {"train": 8, "validation": 1, "test": 1},
    }


# ---------------------------------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------------------------------


def run_split(workspace: Path, labels: dict[str, str], **rows: list[str]) -> subprocess.CompletedProcess[str]:
    corpus = make_corpus(workspace / "corpus", {f"{name}.md": name for name in labels}, **rows)
    edit_params(workspace / "params.yaml", {"corpus": str(corpus)})
    write_table(documents(filler(labels)), DOCUMENTS)
    write_table(labels_table(labels), LABELS)
    return run_stage("split", cwd=workspace)


def test_the_command_writes_three_tables_that_hold_every_document_once(workspace: Path) -> None:
    labels = corpus_of(a=20, b=10)
    ended = run_split(workspace, labels, gold=["a1,a"], examples=["b3,b"])
    assert (ended.returncode, ended.stderr) == (0, "split: 24 train, 3 validation, 3 test\n")
    sides = {side: read_table(Path(f"data/split/{side}.parquet")) for side in SIDES}
    assert sorted(name for frame in sides.values() for name in frame["document_id"]) == sorted(labels)
    assert all(frame["document_id"].is_sorted() for frame in sides.values())
    assert "a1" in sides["test"]["document_id"]
    assert "b3" in sides["train"]["document_id"]


def test_the_command_names_a_class_that_is_too_small_and_writes_nothing(workspace: Path) -> None:
    ended = run_split(workspace, corpus_of(a=10, tiny=2))
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: split: class 'tiny' has 2 distinct documents")
    assert not (workspace / "data/split").exists()
    assert not (workspace / "metrics").exists()


def test_the_command_names_a_missing_table(workspace: Path) -> None:
    edit_params(workspace / "params.yaml", {"corpus": str(make_corpus(workspace / "corpus", {"a.md": "a"}))})
    ended = run_stage("split", cwd=workspace)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: data/extracted/documents.parquet is missing")
