"""Export: the model for others, its ONNX file, its card, its place on the Hub."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from huggingface_hub import HfApi, ModelCard

from stages.corpus.tables import SPLIT, write_table
from stages.export import check_target, is_ours
from stages.exporting.hub import check_push, push
from stages.exporting.onnx_file import write_onnx
from stages.inference.classifier import Classifier, load_classifier
from stages.runtime.errors import UserError
from stages.train import save, train
from tests.conftest import ROOT, edit_params, run_stage
from tests.hub_server import TOKEN, serve
from tests.small_training import FRAMES, frame, model_params, runtime, small_params

MODEL = "someone/papers"
TEXTS = ["flour oven dough crust", "train track", "signal station " * 20, "dough"]
PROVENANCE = {"backbone": "bundled:all-MiniLM-L6-v2", "revision": None}
TINY = ("bert", "distilbert", "modernbert", "neobert")


@pytest.fixture
def train_tiny(workspace: Path, tiny_model: Callable[[str], Path]) -> Callable[..., Path]:
    """Train a tiny model in the workspace: `train_tiny("neobert", pooling="own")`; returns models/classifier there."""

    def make(kind: str, **changes: object) -> Path:
        backbone = tiny_model(kind)
        settings = model_params(backbone).model_copy(update=changes)
        done = train(FRAMES, backbone, workspace / "checkpoints", settings, small_params(epochs=1), runtime())
        save(done, workspace / "models/classifier", PROVENANCE)
        write_table(frame(4, "test"), workspace / SPLIT / "test.parquet")
        return workspace / "models/classifier"

    return make


def give_metrics(workspace: Path, **changes: Any) -> None:
    """Put this repository's metrics into the workspace, `evaluate` with further entries."""
    (workspace / "metrics").mkdir(exist_ok=True)
    for file in sorted((ROOT / "metrics").glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        content |= changes if file.stem == "evaluate" else {}
        (workspace / "metrics" / file.name).write_text(json.dumps(content), encoding="utf-8")


def run_elsewhere(code: str, folder: Path, **environment: str) -> list[list[str]]:
    """Run Python code in `folder`, without this repository on its path; return the lines it prints, split at tabs."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HF_HUB_OFFLINE")}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; assert not any('{ROOT}' == path for path in sys.path)\n{code}"],
        cwd=folder,
        env={**kept, "TRANSFORMERS_VERBOSITY": "error", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def code_of(folder: Path) -> list[str]:
    """Return the Python code of the card in `folder`, block by block."""
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def answers(classifier: Classifier) -> list[list[str]]:
    """Return what the card's lines should print."""
    texts = ["The first text", "And a second one"]
    rows = classifier.calibrate(classifier.logits(texts, 1000))
    return [[classifier.labels[row.argmax()], f"{row.max():.4f}", text] for text, row in zip(texts, rows, strict=True)]


@pytest.mark.parametrize("pooling", ["own", "mean"])
@pytest.mark.parametrize("kind", TINY)
def test_the_onnx_file_answers_as_the_model_whatever_the_batch(
    kind: str, pooling: str, train_tiny: Callable[..., Path], workspace: Path
) -> None:
    if pooling == "mean" and kind in ("distilbert", "neobert"):
        pytest.skip("these have no way to the mean")
    classifier = load_classifier(train_tiny(kind, pooling=pooling), "cpu")
    file = workspace / "model.onnx"
    assert write_onnx(classifier, TEXTS, file) < 1e-5
    session = onnxruntime.InferenceSession(file)
    for texts in (TEXTS, TEXTS[:1], TEXTS[1:3]):
        batch = classifier.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        [found] = session.run(["logits"], {name: tensor.numpy() for name, tensor in inputs.items()})
        with torch.inference_mode():
            np.testing.assert_allclose(found, classifier.model(**inputs).logits.numpy(), atol=1e-5)
    assert str(ROOT).encode() not in file.read_bytes()
    assert b"site-packages" not in file.read_bytes()


def test_an_onnx_file_that_answers_differently_is_not_kept(
    train_tiny: Callable[..., Path], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = load_classifier(train_tiny("bert"), "cpu")
    monkeypatch.setattr("stages.exporting.onnx_file._compare", lambda *_: 2e-4)
    with pytest.raises(UserError, match=r"differ from the model's by 2.0e-04, more than 1e-04"):
        write_onnx(classifier, TEXTS, workspace / "model.onnx")
    assert not (workspace / "model.onnx").exists()


@pytest.mark.parametrize("calibrated", [False, True])
def test_the_card_tells_how_to_load_a_bert_and_its_lines_run(
    calibrated: bool, train_tiny: Callable[..., Path], workspace: Path
) -> None:
    model = train_tiny("bert")
    if calibrated:
        (model / "temperature.json").write_text('{"temperature": 0.5}')
    else:
        (model / "temperature.json").unlink()
    wanted = answers(load_classifier(model, "cpu"))
    give_metrics(workspace)
    done = run_stage("export", "--output", "export", "--onnx", cwd=workspace)
    assert done.returncode == 0, done.stderr
    assert sorted(
        path.relative_to(workspace / "export").as_posix() for path in (workspace / "export").rglob("*.*")
    ) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "onnx/model.onnx",
        "provenance.json",
        *(["temperature.json"] if calibrated else []),
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    with_transformers, with_onnx = code_of(workspace / "export")
    assert ("temperature.json" in with_transformers) == calibrated
    assert run_elsewhere(with_transformers, workspace / "export") == wanted
    assert run_elsewhere(with_onnx, workspace / "export") == wanted


def test_a_neobert_comes_with_onnx_and_its_code_and_both_run(train_tiny: Callable[..., Path], workspace: Path) -> None:
    wanted = answers(load_classifier(train_tiny("neobert"), "cpu"))
    done = run_stage("export", cwd=workspace)
    assert done.returncode == 0, done.stderr
    assert "metrics/evaluate.json is missing: the card says nothing of it" in done.stderr
    folder = workspace / "export"
    with_onnx, with_code = code_of(folder)
    assert run_elsewhere(with_onnx, folder) == wanted
    assert run_elsewhere(with_code, folder) == wanted
    assert "auto_map" not in (folder / "config.json").read_text()
    assert (folder / "neobert/LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert not any("stages." in file.read_text() for file in (folder / "neobert").glob("*.py"))


def test_the_card_gives_scores_with_intervals_and_its_front_matter_is_the_hubs(
    train_tiny: Callable[..., Path], workspace: Path
) -> None:
    train_tiny("bert")
    span = {"low": 0.51, "high": 0.82}
    test = {"macro_f1": 0.6771, "weighted_f1": 0.6939, "accuracy": 0.7368}
    give_metrics(
        workspace,
        test={**test, "intervals": {"macro_f1": span, "accuracy": span}},
        paired={
            "majority": {"macro_f1_difference": 0.64, "low": 0.36, "high": 0.84, "p_value": 0.0001},
            "tfidf": {"macro_f1_difference": -0.0166, "low": -0.1, "high": 0.08, "p_value": 0.72},
        },
        calibration={
            "temperature": 1.23,
            "before": {"ece": 0.11, "brier": 0.4, "log_loss": 0.9},
            "after": {"ece": 0.07, "brier": 0.39, "log_loss": 0.8},
        },
        coverage={"0.5": {"coverage": 0.9, "accuracy": 0.8}, "0.9": {"coverage": 0.0, "accuracy": None}},
    )
    done = run_stage("export", cwd=workspace)
    assert done.returncode == 0, done.stderr
    card = ModelCard.load(workspace / "export/README.md")
    assert card.data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert (card.data.license, card.data.language, card.data.pipeline_tag) == (
        "apache-2.0",
        ["en"],
        "text-classification",
    )
    assert [(result.metric_name, result.metric_value) for result in card.data.eval_results] == [
        ("macro F1", 0.6771),
        ("weighted F1", 0.6939),
        ("accuracy", 0.7368),
    ]
    for said in (
        "| this model | 0.677 (0.510 to 0.820) | 0.694 | 0.737 (0.510 to 0.820) |",
        "TF-IDF + logistic regression, on the same documents: -0.017 (95 % interval -0.100 to +0.080, p = 0.720)",
        "(95 % interval +0.360 to +0.840, p < 0.001)",
        "divided by 1.23 before the softmax",
        "| 0.9 | 0.0 | none answered |",
        "The labels are by a zero-shot annotator",
        "accuracy of 0.807 (Cohen's kappa 0.780)",
        "19 test documents: one more error costs 5.3 points of accuracy.",
    ):
        assert said in card.text
    assert "{{" not in card.text
    assert "{%" not in card.text
    assert "\n\n\n" not in card.text


@pytest.mark.parametrize("provider", ["zero_shot", "file"])
def test_the_card_tells_labels_checked_by_hand_from_changed_ones(
    provider: str, train_tiny: Callable[..., Path], workspace: Path
) -> None:
    train_tiny("bert")
    give_metrics(workspace)
    edit_params(workspace / "params.yaml", {"annotate.provider": provider})
    assert run_stage("export", cwd=workspace).returncode == 0
    text = (workspace / "export/README.md").read_text(encoding="utf-8")
    assert ("No person has checked them one by one." in text) == (provider == "zero_shot")
    merged = workspace / "metrics/merge_classes.json"
    merged.write_text(json.dumps(json.loads(merged.read_text()) | {"overrides": {"applied": 40, "changed": 2}}))
    assert run_stage("export", cwd=workspace).returncode == 0
    text = (workspace / "export/README.md").read_text(encoding="utf-8")
    assert "40 of them were checked by hand, 2 of these changed." in text
    assert "No person" not in text


def test_without_metrics_the_card_leaves_scores_out(train_tiny: Callable[..., Path], workspace: Path) -> None:
    train_tiny("bert")
    done = run_stage("export", "--licence", "mit", cwd=workspace)
    assert done.returncode == 0, done.stderr
    card = ModelCard.load(workspace / "export/README.md")
    assert card.data.eval_results is None
    assert card.data.license == "mit"
    assert "How good it is" not in card.text
    assert "bread, rail" in card.text


def test_an_export_replaces_an_export_and_nothing_else(train_tiny: Callable[..., Path], workspace: Path) -> None:
    train_tiny("bert")
    assert run_stage("export", "--onnx", cwd=workspace).returncode == 0
    assert run_stage("export", cwd=workspace).returncode == 0
    assert not (workspace / "export/onnx").exists()
    for name in ("notes.docx", "notes.txt", "runs.json"):
        (workspace / "export" / name).write_text("mine")
        again = run_stage("export", cwd=workspace)
        assert again.returncode == 1
        assert "--output export: holds files that are no export" in again.stderr
        (workspace / "export" / name).unlink()
    with pytest.raises(UserError, match="no export"):
        check_target(ROOT, workspace / "models/classifier")
    assert is_ours(Path("onnx/model.onnx"))
    assert not is_ours(Path("deep/onnx/model.onnx"))
    into = run_stage("export", "--output", "models/../models/classifier", cwd=workspace)
    assert (into.returncode, "is the folder of the model itself" in into.stderr) == (1, True)


def test_a_model_of_other_params_is_not_exported(train_tiny: Callable[..., Path], workspace: Path) -> None:
    train_tiny("bert")
    used = {"train": {"params": {"params.yaml": {"annotate.provider": "file"}}}}
    (workspace / "dvc.lock").write_text(json.dumps({"stages": used}))
    done = run_stage("export", cwd=workspace)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: annotate.provider is zero_shot in params.yaml, the last `dvc repro` was with file"
    )
    assert not (workspace / "export").exists()


@pytest.mark.parametrize("path", ["metrics/evaluate.json", "models/classifier"])
def test_model_and_metrics_of_two_runs_are_not_exported(
    path: str, train_tiny: Callable[..., Path], workspace: Path
) -> None:
    train_tiny("bert")
    give_metrics(workspace)
    (workspace / "dvc.lock").write_text(json.dumps({"stages": {"evaluate": {"outs": [{"path": path, "md5": "0"}]}}}))
    done = run_stage("export", cwd=workspace)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {path} is not what dvc.lock notes; the card would speak of another run")
    assert not (workspace / "export").exists()


def test_where_annotator_and_people_know_one_category_there_is_no_kappa(
    train_tiny: Callable[..., Path], workspace: Path
) -> None:
    train_tiny("bert")
    give_metrics(workspace)
    file = workspace / "metrics/annotate.json"
    alike = {"compared_with_gold": 2, "accuracy": 1.0, "kappa": None}
    file.write_text(json.dumps(json.loads(file.read_text()) | alike))
    done = run_stage("export", cwd=workspace)
    assert done.returncode == 0, done.stderr
    text = (workspace / "export/README.md").read_text(encoding="utf-8")
    assert "on 2 documents, these labels have an accuracy of 1.000." in text


def test_a_link_is_refused_before_anything_is_written(workspace: Path) -> None:
    (workspace / "real").mkdir()
    (workspace / "export").symlink_to("real")
    with pytest.raises(UserError, match="is a link"):
        check_target(Path("export"), Path("models/classifier"))


def test_without_a_model_one_line_says_so_and_nothing_is_left(workspace: Path) -> None:
    done = run_stage("export", cwd=workspace)
    assert done.returncode == 1
    assert done.stderr.startswith("error: models/classifier: no trained model there")
    assert list(workspace.glob("*export*")) == []


def hub_environment(address: str, home: Path, token: str = TOKEN) -> dict[str, str]:
    """Return what makes huggingface_hub speak to the server at `address`, by plain HTTP."""
    switches = {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    return {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_TOKEN": token, **switches}


def test_a_push_makes_a_private_repository_and_its_card_loads_from_there(
    train_tiny: Callable[..., Path], workspace: Path, tmp_path: Path
) -> None:
    wanted = answers(load_classifier(train_tiny("bert"), "cpu"))
    (tmp_path / "repository").mkdir()
    with serve(MODEL, tmp_path / "repository", exists=False) as hub:
        environment = hub_environment(hub.address, tmp_path / "home")
        done = run_stage("export", "--onnx", "--push", MODEL, cwd=workspace, **environment)
        assert done.returncode == 0, done.stderr
        assert f"uploaded: {hub.address}/{MODEL}/commit/1" in done.stderr
        assert [(asked["name"], asked["visibility"]) for asked in hub.created] == [("papers", "private")]
        for name in hub.names():
            assert (hub.files / name).read_bytes() == (workspace / "export" / name).read_bytes()
        assert "lfsFile model.safetensors" in hub.commits[0]
        (empty := tmp_path / "elsewhere").mkdir()
        for code in code_of(hub.files):
            assert f'snapshot_download("{MODEL}")' in code
            assert run_elsewhere(code, empty, **environment) == wanted

        # The next model has no ONNX file: that of the one before must not stay beside it. What is not ours does.
        others = ["banner.png", "runs/log.json", "docs/notes.txt", "onnx/quantised/model.onnx"]
        for name in others:
            (hub.files / name).parent.mkdir(parents=True, exist_ok=True)
            (hub.files / name).write_bytes(b"mine")
        done = run_stage("export", "--push", MODEL, cwd=workspace, **environment)
        assert done.returncode == 0, done.stderr
        assert "deletedFile onnx/model.onnx" in hub.commits[1]
        assert set(others) <= set(hub.names())
        assert len(hub.created) == 1


@pytest.mark.parametrize(
    ("repository", "token", "reason"),
    [
        (MODEL, "hf_wrong", "the Hub says 401: Invalid username or password"),
        ("another/papers", TOKEN, "the Hub says 403: You don't have the rights"),
    ],
)
def test_a_push_that_the_hub_refuses_is_one_line(
    repository: str, token: str, reason: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "repository").mkdir()
    with serve(MODEL, workspace / "repository", exists=False) as hub:
        monkeypatch.setattr("stages.exporting.hub.HfApi", lambda: HfApi(endpoint=hub.address, token=token))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        with pytest.raises(UserError, match=reason) as refused:
            push(workspace, repository, False, is_ours)
    assert "\n" not in str(refused.value)
    assert (hub.names(), hub.commits) == ([], [])


def test_a_hub_that_cannot_be_reached_is_one_line(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.exporting.hub.HfApi", lambda: HfApi(endpoint="http://127.0.0.1:9", token=TOKEN))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(UserError, match=r"http://127.0.0.1:9 cannot be reached"):
        push(workspace, MODEL, False, is_ours)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set: unset it"):
        push(workspace, MODEL, False, is_ours)


def test_a_push_without_token_or_with_a_name_that_is_none_is_refused_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.exporting.hub.get_token", lambda: None)
    with pytest.raises(UserError, match="--push: no token: `hf auth login` keeps one"):
        check_push(MODEL)
    monkeypatch.setattr("stages.exporting.hub.get_token", lambda: TOKEN)
    with pytest.raises(UserError, match="--push some body/papers: "):
        check_push("some body/papers")
    check_push(MODEL)
