"""What a fit learns from: the weights of classes, and how an epoch is judged."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from transformers import EvalPrediction

from stages.training.fitting import class_weights, measure


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_balanced_classes_weigh_alike(labels: list[int]) -> None:
    weights = class_weights(labels, 5, "balanced")
    present = sorted(set(labels))
    expected = compute_class_weight("balanced", classes=np.array(present), y=labels)
    assert weights[present].tolist() == pytest.approx(expected.tolist())
    assert weights[labels].mean().item() == pytest.approx(1)
    assert weights[[number for number in range(5) if number not in present]].tolist() == [0] * (5 - len(present))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_sqrt_is_halfway_from_no_balance_to_balance(labels: list[int]) -> None:
    balanced, halfway = (class_weights(labels, 5, how) for how in ("balanced", "sqrt"))
    ratio = halfway[labels].square() / balanced[labels]
    assert ratio.tolist() == pytest.approx([ratio[0].item()] * len(labels))
    assert halfway[labels].mean().item() == pytest.approx(1)
    assert halfway[4] == 0


def test_without_balance_documents_weigh_alike() -> None:
    assert class_weights([0, 0, 1], 3, "none").tolist() == [1, 1, 1]


@pytest.mark.parametrize("best_by", ["loss", "macro_f1", "weighted_f1"])
def test_the_best_epoch_is_the_one_of_the_better_score_or_the_lower_loss(best_by: str) -> None:
    labels = np.array([0, 0, 1])
    sure, unsure, wrong = (
        np.array(rows, dtype=np.float32)
        for rows in ([[4, 0], [4, 0], [0, 4]], [[1, 0], [1, 0], [0, 1]], [[1, 0], [0, 1], [0, 1]])
    )
    found = [
        measure(EvalPrediction(logits, labels), best_by, torch.ones(2))["selection"] for logits in (sure, unsure, wrong)
    ]
    assert found[0] > found[1] > found[2]


def test_by_loss_a_rare_class_counts_as_its_weight_says() -> None:
    labels = np.array([0, 0, 0, 1])
    for_common = np.array([[3, 0], [3, 0], [3, 0], [1, 0]], dtype=np.float32)
    for_rare = np.array([[0, 0], [0, 0], [0, 0], [0, 3]], dtype=np.float32)
    chosen = {}
    for how in ("none", "balanced"):
        weights = class_weights(labels.tolist(), 2, how)
        one, other = (
            measure(EvalPrediction(logits, labels), "loss", weights)["selection"] for logits in (for_common, for_rare)
        )
        chosen[how] = "common" if one > other else "rare"
    assert chosen == {"none": "common", "balanced": "rare"}
