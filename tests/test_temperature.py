"""The temperature from the end of training to a prediction."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForSequenceClassification

from stages.inference.classifier import TEMPERATURE, load_classifier, read_temperature
from stages.runtime.errors import UserError
from stages.train import Trained, save, train
from tests.small_training import FRAMES, frame, model_params, runtime, small_params

TEXTS = ["flour oven dough", "train track", "crust " * 50]


@pytest.fixture
def trained(tiny_model: Callable[[str], Path], workspace: Path) -> Trained:
    folder = tiny_model("bert")
    return train(FRAMES, folder, workspace / "checkpoints", model_params(folder), small_params(), runtime())


def test_what_training_finds_is_stored_beside_the_model_and_used(trained: Trained, workspace: Path) -> None:
    save(trained, workspace / "classifier", {})
    assert json.loads((workspace / "classifier" / TEMPERATURE).read_text()) == {"temperature": trained.temperature}
    assert trained.temperature != 1.0
    AutoModelForSequenceClassification.from_pretrained(workspace / "classifier")

    classifier = load_classifier(workspace / "classifier", "cpu")
    logits = classifier.logits(TEXTS, 100)
    shares = classifier.calibrate(logits)
    assert classifier.temperature == trained.temperature
    wanted = np.exp(logits.astype(np.float64) / trained.temperature)
    assert shares == pytest.approx(wanted / wanted.sum(axis=1, keepdims=True))
    assert np.array_equal(shares.argmax(axis=1), logits.argmax(axis=1))


def test_it_is_fitted_to_the_validation_documents(
    tiny_model: Callable[[str], Path], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[np.ndarray, list[int]]] = []

    def fit(logits: np.ndarray, true: list[int]) -> float:
        seen.append((logits, true))
        return 1.5

    monkeypatch.setattr("stages.train.fit_temperature", fit)
    folder = tiny_model("bert")
    sides = {**FRAMES, "validation": frame(3, "validation")}
    trained = train(sides, folder, workspace / "checkpoints", model_params(folder), small_params(), runtime())
    save(trained, workspace / "classifier", {})
    classifier = load_classifier(workspace / "classifier", "cpu")
    [(logits, true)] = seen
    assert [classifier.labels[number] for number in true] == sides["validation"]["label"].to_list()
    np.testing.assert_allclose(logits, classifier.logits(sides["validation"]["text"].to_list(), 100), atol=1e-5)
    assert classifier.temperature == 1.5


def test_a_model_without_one_is_taken_at_its_word(trained: Trained, workspace: Path) -> None:
    save(trained, workspace / "classifier", {})
    (workspace / "classifier" / TEMPERATURE).unlink()
    classifier = load_classifier(workspace / "classifier", "cpu")
    assert classifier.temperature == 1.0
    logits = classifier.logits(TEXTS, 100)
    wanted = np.exp(logits.astype(np.float64))
    assert classifier.calibrate(logits) == pytest.approx(wanted / wanted.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"temperature": null}', '{"temperature": 0}', "{", "NaN"])
def test_a_damaged_file_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / TEMPERATURE).write_text(content)
    with pytest.raises(UserError, match=r"temperature\.json: holds no temperature above 0: `dvc checkout"):
        read_temperature(tmp_path)


def test_a_validation_set_that_is_answered_perfectly_makes_nobody_certain(trained: Trained) -> None:
    assert 0.2 < trained.temperature < 5
