"""Cross-validation: folds that leak nothing, and predictions for every document."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.backbone.params import ModelParams
from stages.params import load, validate
from stages.runtime.errors import UserError
from stages.runtime.settings import read_runtime
from stages.splitting.folds import make_folds, nested_subset
from stages.train import Trained, train
from stages.training import folds as folds_module
from stages.training.fitting import Fitted, fit
from stages.training.folds import summarise
from stages.training.params import TrainParams


def frame(sizes: dict[str, list[int]]) -> pl.DataFrame:
    """Documents by class, as sizes of groups of duplicates."""
    rows = [
        {
            "document_id": f"{label}-{group}-{copy}",
            "text": f"{label} {group}",
            "label": label,
            "group": f"{label}-{group}",
        }
        for label, groups in sizes.items()
        for group, size in enumerate(groups)
        for copy in range(size)
    ]
    return pl.DataFrame(rows)


sizes = st.dictionaries(
    st.sampled_from(["bread", "rail", "bees"]), st.lists(st.integers(1, 3), min_size=6, max_size=15), min_size=2
)


@given(sizes, st.integers(2, 6), st.integers(0, 3))
def test_each_document_is_tested_once_and_duplicates_share_a_part(
    sizes: dict[str, list[int]], folds: int, seed: int
) -> None:
    documents = frame(sizes)
    group = documents["group"].to_list()
    tested: list[int] = []
    for fold in make_folds(documents, folds, 0.3, seed):
        parts = (fold.train, fold.validation, fold.test)
        assert all(parts)
        assert sorted(place for part in parts for place in part) == list(range(len(documents)))
        owners = [{group[place] for place in part} for part in parts]
        assert sum(map(len, owners)) == len(set().union(*owners))
        tested += fold.test
    assert sorted(tested) == list(range(len(documents)))


@given(st.integers(0, 20))
def test_parts_are_stratified(seed: int) -> None:
    documents = frame({"bread": [1] * 40, "rail": [1] * 20})
    for fold in make_folds(documents, 5, 0.25, seed):
        for part, bread in ((fold.test, 8), (fold.validation, 8), (fold.train, 24)):
            counts = dict(documents[part].group_by("label").len().iter_rows())
            assert counts == {"bread": bread, "rail": bread // 2}


@given(st.integers(0, 20))
def test_one_more_document_moves_border_cases_alone(seed: int) -> None:
    few, more = frame({"bread": [1] * 40, "rail": [1] * 40}), frame({"bread": [1] * 41, "rail": [1] * 40})

    def side(documents: pl.DataFrame) -> dict[str, int]:
        names = documents["document_id"].to_list()
        return {
            names[place]: number
            for number, fold in enumerate(make_folds(documents, 5, 0.2, seed))
            for place in fold.test
        }

    before, after = side(few), side(more)
    assert sum(before[name] != after[name] for name in before) <= 4  # one at each border between five folds


def test_more_folds_than_documents_is_named() -> None:
    with pytest.raises(UserError, match=r"train\.folds: 9 is more than the 8 distinct documents"):
        make_folds(frame({"bread": [1] * 8, "rail": [2] * 4}), 9, 0.2, 0)


def test_nothing_left_to_choose_by_is_named() -> None:
    with pytest.raises(UserError, match=r"train\.folds: of 8 documents beside fold 1 none are left to choose by"):
        make_folds(frame({"bread": [1] * 8, "rail": [1] * 8}), 2, 0.01, 0)


def test_nothing_of_a_second_class_left_to_learn_from_is_named() -> None:
    with pytest.raises(UserError, match=r"what is chosen by, only 'bread' is left to learn from: label more"):
        make_folds(frame({"bread": [1] * 9, "rail": [1, 1]}), 2, 0.6, 0)


@given(sizes, st.integers(0, 3))
def test_a_smaller_share_lies_within_a_larger_and_breaks_no_group(sizes: dict[str, list[int]], seed: int) -> None:
    documents = frame(sizes)
    places = list(range(1, len(documents)))
    groups = documents["group"].to_list()
    parts = [nested_subset(documents, places, share, seed) for share in (0.25, 0.5, 0.75, 1.0)]
    assert parts[-1] == places
    for part, larger in pairwise(parts):
        assert set(part) < set(larger)
    for share, part in zip((0.25, 0.5, 0.75), parts, strict=False):
        assert part == sorted(part)
        kept = {groups[place] for place in part}
        assert part == [place for place in places if groups[place] in kept]
        for label in sizes:
            (wanted, found) = (sum(documents["label"][place] == label for place in part) for part in (places, part))
            assert share * wanted <= found < share * wanted + 3  # the last group may hold three


@given(st.integers(0, 20))
def test_one_more_document_changes_a_share_by_border_cases_alone(seed: int) -> None:
    few, more = frame({"bread": [1] * 40}), frame({"bread": [1] * 41})
    before, after = (
        set(documents["document_id"][nested_subset(documents, list(range(len(documents))), 0.5, seed)])
        for documents in (few, more)
    )
    assert len(before ^ after) <= 2


def run(model: Path, workspace: Path, folds: int, learning_curve: bool = False) -> Trained:
    settings = validate({**load()["model"], "name": str(model), "max_length": 32}, ModelParams, at="model")
    quick = {"epochs": 2, "batch_size": 4, "lr": 0.01, "precision": "fp32", "trainable_layers": 1}
    asked = {"folds": folds, "learning_curve": learning_curve}
    params = validate({**load()["train"], **quick, **asked}, TrainParams, at="train")
    documents = frame({"bread": [1] * 10, "rail": [1] * 10})
    frames = {
        "train": documents.filter(~pl.col("group").str.contains("-[89]")),
        "validation": documents.filter(pl.col("group").str.contains("-[89]")),
    }
    runtime = read_runtime().model_copy(update={"device": "cpu"})
    return train(frames, model, workspace / "checkpoints", settings, params, runtime)


def test_a_class_that_a_fold_has_nothing_of_costs_it_nothing() -> None:
    labels = ["bread", "rail", "sea", "bread", "rail"]
    table = pl.DataFrame({"fold": [1, 1, 1, 2, 2], "label": labels, "predicted": labels})
    found = summarise(table)["macro_f1"]
    assert found == {"mean": 1.0, "std": 0.0, "pooled": 1.0, "each": [1.0, 1.0]}
    # One that is given wrongly does.
    wrong = summarise(table.with_columns(predicted=pl.Series([*labels[:4], "sea"])))["macro_f1"]
    assert wrong["each"] == [1.0, round(1 / 3, 4)]


def test_cross_validation_predicts_each_document_and_leaves_the_model_as_it_is(
    tiny_model: Callable[[str], Path], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("bert")
    alone = run(model, workspace / "alone", 0)
    assert len(alone.out_of_fold) == 0
    assert "cross_validation" not in alone.metrics
    crossed = run(model, workspace / "crossed", 3)
    weights, same = crossed.model.state_dict(), alone.model.state_dict()
    assert all(weights[name].equal(same[name]) for name in same)

    table = crossed.out_of_fold
    assert sorted(table["document_id"]) == sorted(
        f"{label}-{group}-0" for label in ("bread", "rail") for group in range(10)
    )
    assert set(table["fold"]) == {1, 2, 3}
    for label, chances in table.select("predicted", "probabilities").iter_rows():
        assert sum(chances) == pytest.approx(1)
        assert ["bread", "rail"][chances.index(max(chances))] == label
    found = crossed.metrics.pop("cross_validation")
    assert found["folds"] == len(found["macro_f1"]["each"]) == 3
    assert min(found["macro_f1"]["each"]) <= found["macro_f1"]["mean"] <= max(found["macro_f1"]["each"])
    assert crossed.metrics == alone.metrics

    def stopped(*_: object) -> None:
        raise AssertionError("a finished fold is trained again")

    monkeypatch.setattr(folds_module, "fit", stopped)
    assert run(model, workspace / "crossed", 3).out_of_fold.equals(table)


def test_the_learning_curve_adds_smaller_shares_to_the_same_folds(
    tiny_model: Callable[[str], Path], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("bert")
    alone = run(model, workspace / "alone", 2)
    assert alone.learning_curve.is_empty()
    fits: list[str] = []

    def noted(last: int) -> Callable[..., Fitted]:
        def note(*arguments: Any) -> Fitted:
            if len(fits) == last:
                raise InterruptedError
            fits.append(arguments[3])
            return fit(*arguments)

        return note

    monkeypatch.setattr(folds_module, "fit", noted(3))
    with pytest.raises(InterruptedError):
        run(model, workspace / "curve", 2, True)
    monkeypatch.setattr(folds_module, "fit", noted(8))
    found = run(model, workspace / "curve", 2, True)
    # What was finished is not trained again.
    shares = (" share 0.25", " share 0.5", " share 0.75", "")
    assert fits == [f"fold {fold}{share}" for fold in (1, 2) for share in shares]

    assert found.out_of_fold.select(alone.out_of_fold.columns).equals(alone.out_of_fold)
    assert found.metrics == alone.metrics
    table = found.learning_curve
    for share, part in table.group_by("share"):
        assert sorted(part["document_id"]) == sorted(alone.out_of_fold["document_id"]), share
    learned_from = dict(table.filter(fold=1).unique("share").select("share", "documents").iter_rows())
    assert learned_from[0.25] < learned_from[0.5] < learned_from[0.75] < learned_from[1.0]
