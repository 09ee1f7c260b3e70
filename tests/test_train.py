"""Training: data as tensors, freezing, the best epoch, resume, determinism, what is saved."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback

from stages.backbone.bundled import BUNDLED, verified_bundled_folder
from stages.backbone.params import ModelParams
from stages.backbone.resolve import locate
from stages.params import load, validate
from stages.runtime.errors import UserError
from stages.runtime.settings import RuntimeSettings, read_runtime
from stages.train import save, selection, train
from stages.training.checkpoints import checkpoint_folder
from stages.training.data import class_label, encode
from stages.training.model import find_blocks, freeze, load_model, load_tokenizer
from stages.training.params import TrainParams
from stages.training.precision import use_bf16

WORDS = {"bread": "flour oven dough crust", "rail": "train track signal station"}


def frame(count: int, side: str = "train") -> pl.DataFrame:
    rows = [
        {"document_id": f"{side}-{label}-{place}", "text": f"{words} {side} {place}", "label": label}
        for label, words in WORDS.items()
        for place in range(count)
    ]
    return pl.DataFrame(rows)


FRAMES = {"train": frame(4), "validation": frame(1, "validation")}


@pytest.fixture
def params(workspace: Path) -> TrainParams:
    small = {"epochs": 2, "batch_size": 4, "trainable_layers": -1, "lr": 0.01, "precision": "fp32"}
    return validate({**load()["train"], **small}, TrainParams, at="train")


def model_params(folder: Path) -> ModelParams:
    return ModelParams(name=str(folder), revision="main", pooling="auto", max_length=32)


def runtime(**changes: object) -> RuntimeSettings:
    return read_runtime().model_copy(update={"device": "cpu", **changes})


@pytest.mark.parametrize("kind", ["bert", "distilbert", "modernbert", "neobert"])
def test_any_encoder_is_trained_saved_and_loaded_plainly(
    kind: str, tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    folder = tiny_model(kind)
    trainer, metrics = train(FRAMES, folder, workspace / "checkpoints", model_params(folder), params, runtime())
    save(trainer, workspace / "classifier", {"backbone": kind})
    model = AutoModelForSequenceClassification.from_pretrained(workspace / "classifier")
    assert model.config.id2label == {0: "bread", 1: "rail"}
    assert AutoTokenizer.from_pretrained(workspace / "classifier").model_max_length == 32
    assert metrics["best_epoch"] in (1, 2)
    assert set(metrics["validation"]) == {"macro_f1", "weighted_f1", "accuracy"}
    trained = {name: weight.cpu() for name, weight in trainer.model.state_dict().items()}
    assert all(
        torch.equal(trained[name], weight)
        for name, weight in load_file(workspace / "classifier/model.safetensors").items()
    )


def test_what_is_saved_holds_no_absolute_path(
    tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    folder = tiny_model("bert")
    trainer, _ = train(FRAMES, folder, workspace / "checkpoints", model_params(folder), params, runtime())
    save(trainer, workspace / "classifier", {})
    for file in (workspace / "classifier").glob("*.json"):
        assert str(folder) not in file.read_text(), file.name
        assert str(workspace) not in file.read_text(), file.name


@pytest.mark.parametrize(("layers", "trainable"), [(-1, 2), (2, 2), (1, 1), (0, 0)])
@pytest.mark.parametrize("kind", ["bert", "distilbert", "modernbert", "neobert"])
def test_blocks_below_the_trainable_ones_and_embeddings_are_frozen(
    kind: str, layers: int, trainable: int, tiny_model: Callable[[str], Path]
) -> None:
    folder = tiny_model(kind)
    model = load_model(folder, model_params(folder), class_label(FRAMES["train"], FRAMES["validation"]), 0.0)
    freeze(model, layers)
    learned = [all(weight.requires_grad for weight in block.parameters()) for block in find_blocks(model)]
    assert learned == [False] * (2 - trainable) + [True] * trainable
    assert model.get_input_embeddings().weight.requires_grad == (layers == -1)
    assert all(weight.requires_grad for weight in model.classifier.parameters())


def test_more_trainable_blocks_than_there_are_is_named(tiny_model: Callable[[str], Path]) -> None:
    folder = tiny_model("bert")
    model = load_model(folder, model_params(folder), class_label(FRAMES["train"], FRAMES["validation"]), 0.0)
    with pytest.raises(UserError, match=r"train\.trainable_layers: 3 is more than the model's blocks \(2\)"):
        freeze(model, 3)


def test_frozen_weights_come_out_of_training_unchanged(
    tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    folder = tiny_model("bert")
    head_only = params.model_copy(update={"trainable_layers": 1})
    trainer, _ = train(FRAMES, folder, workspace / "checkpoints", model_params(folder), head_only, runtime())
    before, after = load_file(folder / "model.safetensors"), trainer.model.base_model.state_dict()
    same = {name: torch.equal(after[name], weight) for name, weight in before.items() if name in after}
    assert same["encoder.layer.0.output.dense.weight"]
    assert same["embeddings.word_embeddings.weight"]
    assert not same["encoder.layer.1.output.dense.weight"]


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(
    tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    folder = tiny_model("bert")
    weights = []
    for place, seed in enumerate((0, 0, 1)):
        chosen = params.model_copy(update={"seed": seed})
        trainer, _ = train(FRAMES, folder, workspace / f"run{place}", model_params(folder), chosen, runtime())
        weights.append(trainer.model.classifier.weight.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_among_epochs_of_equal_score_the_one_with_the_lowest_validation_loss_is_kept(
    tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    longer = params.model_copy(update={"epochs": 8})
    folder = tiny_model("bert")
    _, metrics = train(FRAMES, folder, workspace / "checkpoints", model_params(folder), longer, runtime())
    plots = Path("metrics/train/plots/metrics/validation")
    scores, losses = (
        pl.read_csv(plots / f"{name}.tsv", separator="\t")[name].to_list() for name in ("macro_f1", "loss")
    )
    tied = [epoch for epoch, score in enumerate(scores, 1) if score == max(scores)]
    assert len(tied) > 1
    assert metrics["best_epoch"] == min(tied, key=lambda epoch: losses[epoch - 1]) != tied[0]


def test_a_higher_score_outweighs_any_loss() -> None:
    assert selection(0.8001, 99.0) > selection(0.8, 0.0) > selection(0.8, 0.1)


class KilledError(Exception):
    pass


class KillAfterFirstEpoch(TrainerCallback):
    def on_epoch_begin(self, args, state, control, **kwargs) -> None:  # type: ignore[no-untyped-def]
        if state.epoch and state.epoch >= 1:
            raise KilledError


def test_a_resumed_run_ends_with_the_weights_and_the_history_of_an_uninterrupted_one(
    tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_model("bert")
    args = (model_params(folder), params, runtime())
    whole, metrics = train(FRAMES, folder, workspace / "whole", *args)
    history = {file: file.read_text() for file in Path("metrics/train").rglob("*.tsv")}

    import transformers.trainer

    with monkeypatch.context() as patch:
        usual = transformers.trainer.DEFAULT_CALLBACKS
        patch.setattr(transformers.trainer, "DEFAULT_CALLBACKS", [*usual, KillAfterFirstEpoch])
        with pytest.raises(KilledError):
            train(FRAMES, folder, workspace / "cut", *args)
    assert list((workspace / "cut").glob("checkpoint-*"))
    shutil.rmtree("metrics/train")  # as DVC does before it starts the command again
    resumed, resumed_metrics = train(FRAMES, folder, workspace / "cut", *args)

    assert resumed_metrics == metrics
    ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert {file: file.read_text() for file in Path("metrics/train").rglob("*.tsv")} == history


def test_history_has_a_row_for_each_step_and_each_epoch(
    tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    folder = tiny_model("bert")
    train(FRAMES, folder, workspace / "checkpoints", model_params(folder), params, runtime())
    plots = Path("metrics/train/plots/metrics")
    assert pl.read_csv(plots / "train/loss.tsv", separator="\t")["step"].to_list() == [1, 2, 3, 4]
    assert pl.read_csv(plots / "validation/macro_f1.tsv", separator="\t")["step"].to_list() == [2, 4]
    assert set(json.loads(Path("metrics/train/metrics.json").read_text())) == {"step", "train", "validation"}


def test_tensorboard_files_go_below_the_cache(
    tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    folder = tiny_model("bert")
    args = (model_params(folder), params, runtime(tensorboard=True))
    train(FRAMES, folder, workspace / "checkpoints", *args)
    assert list((workspace / ".cache/tensorboard/checkpoints").glob("events*"))


def test_system_metrics_are_logged_only_when_asked_for(
    tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    folder = tiny_model("bert")
    train(FRAMES, folder, workspace / "one", model_params(folder), params, runtime())
    assert not list(Path("metrics/train").rglob("system/**/*.tsv"))
    long = params.model_copy(update={"epochs": 200, "lr": 1e-4})  # the monitor writes once a second
    train(FRAMES, folder, workspace / "two", model_params(folder), long, runtime(monitor=True))
    assert "system" in json.loads(Path("metrics/train/metrics.json").read_text())


def test_labels_become_sorted_class_numbers_and_what_is_cut_off_is_measured(tiny_tokenizer: Path) -> None:
    classes = class_label(FRAMES["train"], FRAMES["validation"])
    tokenizer = AutoTokenizer.from_pretrained(tiny_tokenizer)
    texts = pl.DataFrame({"document_id": ["a", "b"], "text": ["a " * 18, "a " * 8], "label": ["rail", "bread"]})
    rows, cut = encode(texts, classes, tokenizer, 10)
    assert classes.names == ["bread", "rail"]
    assert rows["labels"] == [1, 0]
    assert [len(ids) for ids in rows["input_ids"]] == [10, 10]
    assert (cut.documents, cut.tokens) == (1, round(10 / 30, 4))


def test_a_class_missing_from_train_is_named() -> None:
    with pytest.raises(UserError, match="class 'rail' stands in validation but not in train"):
        class_label(
            frame(2).filter(pl.col("label") == "bread").vstack(frame(1).with_columns(label=pl.lit("x"))), frame(1)
        )


def test_one_class_alone_cannot_be_learned() -> None:
    bread = frame(2).filter(pl.col("label") == "bread")
    with pytest.raises(UserError, match="a classifier needs two"):
        class_label(bread, bread)


def test_max_length_beyond_the_model_is_named(tiny_model: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match=r"model\.max_length: 65 is more than the 64 tokens"):
        load_tokenizer(tiny_model("bert"), "tiny", 65)


def with_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("kind", ["bert", "neobert"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop(max(weights)), "the weights lack 1 parts of the encoder"),
        (
            lambda weights: weights.update({name: weight[:-1] for name, weight in weights.items()}),
            r"is \(.*\) in the weights, \(.*\) by config.json",
        ),
    ],
    ids=["a part missing", "another shape"],
)
def test_weights_that_are_not_those_of_the_config_are_refused_rather_than_made_up(
    kind: str,
    change: Callable[[dict[str, torch.Tensor]], None],
    message: str,
    tiny_model: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    def keep_pooler(weights: dict[str, torch.Tensor]) -> None:
        pooler = {name: weights.pop(name) for name in list(weights) if "pooler" in name}
        change(weights)
        weights.update(pooler)

    folder = with_weights(shutil.copytree(tiny_model(kind), tmp_path / "model"), keep_pooler)
    with pytest.raises(UserError, match=message):
        load_model(folder, model_params(folder), class_label(FRAMES["train"], FRAMES["validation"]), 0.0)


def test_a_classifier_can_be_fine_tuned_for_more_classes(
    tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    folder = tiny_model("neobert")
    trainer, _ = train(FRAMES, folder, workspace / "first", model_params(folder), params, runtime())
    save(trainer, workspace / "classifier", {})
    bees = pl.col("document_id") + "-bees", pl.lit("bees").alias("label")
    three = {side: rows.vstack(rows.filter(label="rail").with_columns(bees)) for side, rows in FRAMES.items()}
    again = model_params(workspace / "classifier")
    trainer, _ = train(three, workspace / "classifier", workspace / "second", again, params, runtime())
    assert trainer.model.config.id2label == {0: "bees", 1: "bread", 2: "rail"}


def test_a_tokenizer_of_another_model_is_named(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model("neobert"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 100}))
    with pytest.raises(UserError, match=r"tokenizer has \d+ tokens, its config.json says vocab_size 100"):
        load_tokenizer(folder, "tiny", 32)


@pytest.mark.parametrize("name", ["models/pretrained/missing", "./nowhere", "bundled:other"])
def test_a_missing_model_is_named(name: str, workspace: Path) -> None:
    with pytest.raises(UserError, match=name):
        locate(name, "main")


def test_a_hub_model_without_network_says_what_to_do(workspace: Path) -> None:
    with pytest.raises(UserError, match="below models/pretrained/"):
        locate("nobody/no-such-model", "main")


def test_a_folder_without_safetensors_is_refused(workspace: Path) -> None:
    (workspace / "pickles").mkdir()
    (workspace / "pickles/pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"no \.safetensors weights"):
        locate(str(workspace / "pickles"), "main")


def test_a_folder_that_is_no_model_is_one_line(workspace: Path) -> None:
    (workspace / "odd").mkdir()
    (workspace / "odd/model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_tokenizer(locate(str(workspace / "odd"), "main"), "odd", 32)


def test_the_bundled_model_is_the_published_one() -> None:
    assert locate(BUNDLED, "main") == verified_bundled_folder()


def test_checkpoints_belong_to_their_settings_data_and_code(workspace: Path) -> None:
    data = workspace / "data"
    data.write_text("one")
    folder = checkpoint_folder({"lr": 1}, [data])
    assert checkpoint_folder({"lr": 1}, [data]) == folder
    assert checkpoint_folder({"lr": 2}, [data]) != folder
    data.write_text("two")
    assert checkpoint_folder({"lr": 1}, [data]) != folder


def test_precision_can_be_fixed() -> None:
    assert use_bf16("bf16", "cpu")
    assert not use_bf16("fp32", "cuda")
