"""The head's first weights, from a logistic regression."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from sklearn.linear_model import LogisticRegression
from torch.testing import assert_close
from transformers import AutoModelForSequenceClassification

import stages.neobert  # noqa: F401  (makes the Auto classes know it)
from stages.training.data import collate
from stages.training.probe import features, fitted_head, last_linear
from stages.training.windows_regression import WindowsRegression
from stages.windows import log_mean_exp

KINDS = ["bert", "distilbert", "modernbert", "neobert"]


def make_model(folder: Path, classes: int) -> AutoModelForSequenceClassification:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=classes, dtype=torch.float32).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_what_the_last_layer_reads_of_each_window(kind: str, tiny_model: Callable[[str], Path]) -> None:
    model = make_model(tiny_model(kind), 3)
    windows = [[[2, 9, 8, 3]], [[2, 7, 7, 3], [2, 5, 9, 3]], [[2, 6, 3]]]
    rows = Dataset.from_dict({"windows": windows, "labels": [0, 1, 2], "length": [4, 8, 3]})

    def inputs(given: list[list[int]]) -> dict[str, torch.Tensor]:
        width = max(map(len, given))
        ids = torch.tensor([window + [0] * (width - len(window)) for window in given])
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}

    found = features(model, rows, lambda batch: collate(batch, inputs), False, 8)
    for document, states in zip(windows, found, strict=True):
        with torch.inference_mode():
            assert_close(last_linear(model)(states), model(**inputs(document)).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_head_answers_as_the_regression_does(
    classes: int, tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.training.probe.STRENGTHS", (10.0,))
    model = make_model(tiny_model("bert"), classes)
    labels = [place % classes for place in range(60)]
    given = points(labels, noise=7) + torch.eye(16)[labels] * 9
    model.load_state_dict(fitted_head(model, given[:, None], labels), strict=False)
    scale = given.pow(2).sum(dim=1).mean().sqrt().numpy()
    expected = LogisticRegression(C=10.0, class_weight="balanced", max_iter=5000).fit(given.numpy() / scale, labels)
    chances = torch.from_numpy(expected.predict_proba(given.numpy() / scale)).float()
    assert_close(last_linear(model)(given).softmax(dim=-1), chances, atol=1e-4, rtol=1e-3)


def test_regressions_on_documents_of_one_window_agree() -> None:
    labels = [place % 3 for place in range(60)]
    given = (points(labels, noise=1) + torch.eye(16)[labels]).numpy()
    usual = LogisticRegression(C=3.0, class_weight="balanced", max_iter=5000, tol=1e-6).fit(given, labels)
    documents = list(given[:, None])
    ours = WindowsRegression(C=3.0).fit(documents, labels)
    np.testing.assert_allclose(ours.predict_proba(documents), usual.predict_proba(given), atol=2e-3)
    assert ours.predict(documents).tolist() == usual.predict(given).tolist()


@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_finds_what_one_window_of_many_says(classes: int, tiny_model: Callable[[str], Path]) -> None:
    model = make_model(tiny_model("bert"), classes)
    labels = [place % classes for place in range(120)]
    windows = points([0] * 960, noise=1).reshape(120, 8, 16)
    windows[range(120), [place % 8 for place in range(120)]] += 6 * torch.eye(16)[labels]
    documents, owner = list(windows), torch.arange(60).repeat_interleave(8)
    model.load_state_dict(fitted_head(model, documents[:60], labels[:60]), strict=False)
    logits = last_linear(model)(windows[60:].flatten(0, 1))
    combined, mean = log_mean_exp(logits, owner, 60), logits.unflatten(0, (60, 8)).mean(dim=1)
    right = [sum(found.argmax(dim=1) == torch.tensor(labels[60:])).item() / 60 for found in (combined, mean)]
    assert right[0] > 0.9
    assert right[0] > right[1]


def points(labels: list[int], noise: float) -> torch.Tensor:
    return torch.randn(len(labels), 16, generator=torch.Generator().manual_seed(0)) * noise


def test_noisy_labels_are_followed_less_closely_than_clean_ones(tiny_model: Callable[[str], Path]) -> None:
    model = make_model(tiny_model("bert"), 3)
    labels = [place % 3 for place in range(90)]
    sure = []
    for noise in (0.05, 3.0):
        given = points(labels, noise) + torch.eye(16)[labels]
        model.load_state_dict(fitted_head(model, given[:, None], labels), strict=False)
        sure.append(last_linear(model).weight.norm().item() * given.norm(dim=1).mean().item())
    assert sure[0] > sure[1]


@pytest.mark.parametrize("labels", [[place % 3 for place in range(60)], [0] * 30 + [1] * 29 + [2]])
def test_a_class_without_documents_is_the_least_likely_and_one_document_is_enough(
    labels: list[int], tiny_model: Callable[[str], Path]
) -> None:
    model = make_model(tiny_model("bert"), 4)
    given = torch.eye(16)[labels]
    model.load_state_dict(fitted_head(model, given[:, None], labels), strict=False)
    answers = last_linear(model)(given)
    assert answers.argmax(dim=1).tolist() == labels
    assert answers.argmin(dim=1).tolist() == [3] * 60
