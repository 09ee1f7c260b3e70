"""Training: data as tensors, freezing, the best epoch, determinism, what is saved."""

import json
import logging
import shutil
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path

import polars as pl
import pytest
import torch
from dvclive import Live
from pynvml import NVML_ERROR_NOT_SUPPORTED, NVMLError
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, TrainerState

from stages.backbone.bundled import BUNDLED, verified_bundled_folder
from stages.backbone.resolve import locate
from stages.runtime.errors import UserError
from stages.train import save, train
from stages.training import fitting
from stages.training.attention import fast_gradients
from stages.training.data import class_label, encode
from stages.training.fitting import measure
from stages.training.frozen import allocate
from stages.training.history import History
from stages.training.model import ATTENTION_DROPOUT, find_blocks, freeze, load_model, load_tokenizer
from stages.training.params import TrainParams
from stages.training.pooling import only_first_token
from stages.training.precision import use_bf16
from stages.training.provenance import provenance
from stages.training.trainer import selection
from tests.conftest import run_stage
from tests.small_training import FRAMES, frame, model_params, runtime, small_params


@pytest.fixture
def params(workspace: Path) -> TrainParams:
    return small_params()


@pytest.mark.parametrize("kind", ["bert", "distilbert", "modernbert", "neobert"])
def test_any_encoder_is_trained_saved_and_loaded_plainly(
    kind: str, tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    folder = tiny_model(kind)
    trained = train(FRAMES, folder, workspace / "checkpoints", model_params(folder), params, runtime())
    save(trained, workspace / "classifier", {"backbone": kind})
    model = AutoModelForSequenceClassification.from_pretrained(workspace / "classifier")
    assert model.config.id2label == {0: "bread", 1: "rail"}
    assert AutoTokenizer.from_pretrained(workspace / "classifier").model_max_length == 32
    assert trained.metrics["best_epoch"] in (0, 1, 2)
    assert set(trained.metrics["validation"]) == {"macro_f1", "weighted_f1", "accuracy", "loss"}
    weights = {name: weight.cpu() for name, weight in trained.model.state_dict().items()}
    assert all(
        torch.equal(weights[name], weight)
        for name, weight in load_file(workspace / "classifier/model.safetensors").items()
    )


def test_what_is_saved_holds_no_absolute_path(
    tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    folder = tiny_model("bert")
    trained = train(FRAMES, folder, workspace / "checkpoints", model_params(folder), params, runtime())
    save(trained, workspace / "classifier", provenance(str(folder), folder, {}))
    assert folder.name in (workspace / "classifier/provenance.json").read_text()
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
    head_only = params.model_copy(update={"trainable_layers": 1, "lr": 1e-3})
    # Validated on what it learns, so that an epoch is better than the start, which would else be kept.
    known = {"train": FRAMES["train"], "validation": FRAMES["train"]}
    trained = train(known, folder, workspace / "checkpoints", model_params(folder), head_only, runtime())
    assert trained.metrics["best_epoch"] > 0
    before, after = load_file(folder / "model.safetensors"), trained.model.base_model.state_dict()
    same = {name: torch.equal(after[name], weight) for name, weight in before.items() if name in after}
    assert same["encoder.layer.0.output.dense.weight"]
    assert same["embeddings.word_embeddings.weight"]
    assert not same["encoder.layer.1.output.dense.weight"]


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize(
    ("kind", "pooling"),
    [("bert", "own"), ("bert", "mean"), ("distilbert", "own"), ("modernbert", "own"), ("neobert", "own")],
)
def test_frozen_blocks_run_once_give_the_model_that_they_give_in_every_epoch(
    kind: str,
    pooling: str,
    layers: int,
    tiny_model: Callable[[str], Path],
    params: TrainParams,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tiny_model(kind)
    without_dropout(folder)
    wanted = model_params(folder).model_copy(update={"pooling": pooling})
    args = (wanted, params.model_copy(update={"trainable_layers": layers}))
    # The start, which else may be the best, would be the same whatever is trained.
    evaluations = count()
    monkeypatch.setattr(fitting, "measure", lambda *found: {**measure(*found), "selection": next(evaluations)})
    once = train(FRAMES, folder, workspace / "once", *args, runtime(states_mb=0))
    assert once.metrics["best_epoch"] == 2
    assert (workspace / "once/states").is_file()
    monkeypatch.setattr("stages.training.frozen.SEPARABLE", frozenset())
    caplog.set_level(logging.INFO)
    each = train(FRAMES, folder, workspace / "each", *args, runtime(states_mb=0))
    assert not (workspace / "each/states").exists()
    assert f"train: frozen blocks of {kind} are run in every epoch" in caplog.text
    assert once.metrics == each.metrics
    ours, theirs = once.model.state_dict(), each.model.state_dict()
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        assert_close(ours[name], weight, atol=1e-5, rtol=1e-4, msg=name)


def test_a_batch_in_parts_gives_the_model_that_it_gives_at_once(
    tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    folder = tiny_model("bert")
    without_dropout(folder)
    known = {"train": FRAMES["train"], "validation": FRAMES["train"]}
    models = []
    for size, parts in ((4, 1), (2, 2)):
        chosen = params.model_copy(update={"batch_size": size, "gradient_accumulation": parts})
        trained = train(known, folder, workspace / f"{size}", model_params(folder), chosen, runtime())
        assert trained.metrics["best_epoch"] > 0
        models.append(trained.model.state_dict())
    for name, weight in models[0].items():
        assert_close(models[1][name], weight, atol=1e-5, rtol=1e-4, msg=name)


def without_dropout(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    off = {key: 0.0 for key, value in config.items() if "dropout" in key and isinstance(value, int | float)}
    off |= {"classifier_dropout": 0.0} if "classifier_dropout" in config else {}
    (folder / "config.json").write_text(json.dumps(config | off))


@pytest.mark.parametrize("pooling", ["own", "mean"])
def test_the_last_block_only_for_the_first_token_gives_what_the_whole_block_gives(
    pooling: str, tiny_model: Callable[[str], Path]
) -> None:
    folder = tiny_model("bert")
    wanted = model_params(folder).model_copy(update={"pooling": pooling})
    model = load_model(folder, wanted, class_label(FRAMES["train"], FRAMES["validation"]), 0.0).eval()
    ids = torch.tensor([[2, 7, 8, 9, 3], [2, 7, 3, 0, 0], [2, 3, 0, 0, 0]])
    for mask in (None, (ids > 0).long()):
        whole = model(ids, mask).logits
        with only_first_token(model):
            assert_close(model(ids, mask).logits, whole)
        assert torch.equal(model(ids, mask).logits, whole)


def test_attention_in_float32_changes_a_bf16_step_by_rounding_alone(tiny_model: Callable[[str], Path]) -> None:
    folder = tiny_model("bert")
    model = load_model(folder, model_params(folder), class_label(FRAMES["train"], FRAMES["validation"]), 0.0).eval()
    ids = torch.tensor([[2, 7, 8, 9, 3], [2, 7, 3, 0, 0]])
    with torch.autocast("cpu", torch.bfloat16):
        usual = model(ids, (ids > 0).long()).logits
        with fast_gradients(model, bf16=True):
            assert model.config._attn_implementation == "sdpa_in_float32"
            assert_close(model(ids, (ids > 0).long()).logits, usual, atol=0.02, rtol=0.02)
    assert model.config._attn_implementation == "sdpa"


def test_states_that_memory_does_not_hold_go_into_a_file_that_has_its_room(tmp_path: Path) -> None:
    states = allocate(1000, 16, torch.bfloat16, 0, tmp_path / "run/states")
    states.fill_(1.5)
    assert (tmp_path / "run/states").stat().st_size == 1000 * 16 * 2
    assert states.shape == (1000, 16)
    assert allocate(1000, 16, torch.float32, 1, tmp_path / "none").dtype == torch.float32
    assert not (tmp_path / "none").exists()
    with pytest.raises(UserError, match=r"no room for 2048000\.0 GiB.*PIPELINE_CACHE"):
        allocate(2**39, 1000, torch.float32, 0, tmp_path / "huge")
    assert not (tmp_path / "huge").exists()


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(
    tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    folder = tiny_model("bert")
    weights = []
    for place, seed in enumerate((0, 0, 1)):
        chosen = params.model_copy(update={"seed": seed})
        trained = train(FRAMES, folder, workspace / f"run{place}", model_params(folder), chosen, runtime())
        weights.append(trained.model.classifier.weight.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_among_epochs_of_equal_score_the_one_with_the_lowest_validation_loss_is_kept(
    tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    longer = params.model_copy(update={"epochs": 8})
    folder = tiny_model("bert")
    metrics = train(FRAMES, folder, workspace / "checkpoints", model_params(folder), longer, runtime()).metrics
    plots = Path("metrics/train/plots/metrics/validation")
    scores, losses = (
        pl.read_csv(plots / f"{name}.tsv", separator="\t")[name].to_list() for name in ("macro_f1", "loss")
    )
    tied = [epoch for epoch, score in enumerate(scores) if score == max(scores)]  # 0: the start
    assert len(tied) > 1
    assert metrics["best_epoch"] == min(tied, key=lambda epoch: losses[epoch]) != tied[0]


def test_where_every_epoch_is_worse_than_the_start_the_start_is_kept(
    tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    folder = tiny_model("bert")
    # Each text of validation has both labels: the surer a model is of one, the worse.
    other = {"bread": "rail", "rail": "bread"}
    validation = FRAMES["validation"]
    frames = {**FRAMES, "validation": pl.concat([validation, validation.with_columns(pl.col("label").replace(other))])}
    surer = params.model_copy(update={"head_start": "probe", "lr": 0.05, "best_by": "loss", "trainable_layers": 1})
    trained = train(frames, folder, workspace / "checkpoints", model_params(folder), surer, runtime())
    losses = pl.read_csv("metrics/train/plots/metrics/validation/loss.tsv", separator="\t")["loss"].to_list()
    assert trained.metrics["best_epoch"] == 0
    assert trained.metrics["validation"]["loss"] == round(losses[0], 4) < min(losses[1:])
    untouched, after = load_file(folder / "model.safetensors"), trained.model.base_model.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in untouched.items() if name in after)


def test_a_higher_score_outweighs_any_loss() -> None:
    assert selection(0.8001, 99.0) > selection(0.8, 0.0) > selection(0.8, 0.1)


def test_history_has_a_row_for_each_step_and_each_epoch(
    tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    folder = tiny_model("bert")
    train(FRAMES, folder, workspace / "checkpoints", model_params(folder), params, runtime())
    plots = Path("metrics/train/plots/metrics")
    assert pl.read_csv(plots / "train/loss.tsv", separator="\t")["step"].to_list() == [1, 2, 3, 4]
    assert pl.read_csv(plots / "validation/macro_f1.tsv", separator="\t")["step"].to_list() == [0, 2, 4]
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
    # The monitor writes once a second, and before it ends.
    train(FRAMES, folder, workspace / "two", model_params(folder), params, runtime(monitor=True))
    plots = Path("metrics/train/plots/metrics/system")
    assert list(plots.glob("ram/*.tsv"))
    assert min(pl.read_csv(plots / "tokens_per_second.tsv", separator="\t")["tokens_per_second"]) > 0
    assert "_monitoring_loop" not in {thread.name for thread in threading.enumerate()}


def test_a_gpu_is_monitored_too(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = Live("metrics/train", dvcyaml=None, save_dvc_exp=False)
    for name, value in (("is_available", True), ("utilization", 93), ("power_draw", 412_000)):
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    history = History(live, epochs=1, monitor=True)
    state = TrainerState(global_step=4, num_input_tokens_seen=100)
    history.on_log(None, state, None, {"loss": 1.0})
    assert live.summary["system"]["gpu"] == {"utilization (%)": 93, "power (W)": 412.0}


def test_a_gpu_that_does_not_say_how_busy_it_is_stops_no_training(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "utilization", refuse)
    history = History(Live("metrics/train", dvcyaml=None, save_dvc_exp=False), epochs=1, monitor=True)
    for step in (1, 2):
        history.on_log(None, TrainerState(global_step=step, num_input_tokens_seen=100), None, {"loss": 1.0})
    assert "gpu" not in history.live.summary["system"]
    assert caplog.text.count("does not say how busy it is (Not Supported)") == 1


def test_labels_become_sorted_class_numbers_and_what_is_cut_off_is_measured(tiny_tokenizer: Path) -> None:
    classes = class_label(FRAMES["train"], FRAMES["validation"])
    tokenizer = AutoTokenizer.from_pretrained(tiny_tokenizer)
    texts = pl.DataFrame({"text": ["a " * 18, "a " * 8], "label": ["rail", "bread"]})
    rows, cut = encode(texts, classes, tokenizer, model_params(tiny_tokenizer).model_copy(update={"max_length": 10}))
    assert classes.names == ["bread", "rail"]
    assert rows["labels"][:] == [1, 0]
    assert [[len(ids) for ids in windows] for windows in rows["windows"]] == [[10], [10]]
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
    trained = train(FRAMES, folder, workspace / "first", model_params(folder), params, runtime())
    save(trained, workspace / "classifier", {})
    bees = pl.col("document_id") + "-bees", pl.lit("bees").alias("label")
    three = {side: rows.vstack(rows.filter(label="rail").with_columns(bees)) for side, rows in FRAMES.items()}
    again = model_params(workspace / "classifier")
    trained = train(three, workspace / "classifier", workspace / "second", again, params, runtime())
    assert trained.model.config.id2label == {0: "bees", 1: "bread", 2: "rail"}


def test_a_tokenizer_of_another_model_is_named(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model("neobert"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 100}))
    with pytest.raises(UserError, match=r"tokenizer has \d+ tokens, its config.json says vocab_size 100"):
        load_tokenizer(folder, "tiny", 32)


def test_a_tokenizer_that_cannot_pad_is_named(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model("bert"), tmp_path / "odd")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match="'tiny': its tokenizer has no pad_token"):
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


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 90864192\n"])
def test_weights_that_are_no_weights_are_one_line(content: bytes, tiny_model: Callable[[str], Path]) -> None:
    folder = tiny_model("bert")
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be loaded: .*header"):
        load_model(folder, model_params(folder), class_label(FRAMES["train"], FRAMES["validation"]), 0.0)


def test_what_is_no_text_encoder_is_named(tiny_model: Callable[[str], Path]) -> None:
    folder = tiny_model("bert")
    AutoConfig.for_model("clip").save_pretrained(folder)
    with pytest.raises(UserError, match="a clip has no vocabulary: name a text encoder"):
        load_tokenizer(folder, "tiny", 32)


def test_a_decoder_takes_the_tokenizers_pad_token_and_a_random_head(
    tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    folder = tiny_model("bert")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = AutoConfig.for_model("qwen2", vocab_size=300, num_key_value_heads=2, max_position_embeddings=64, **sizes)
    assert config.pad_token_id is None
    AutoModel.from_config(config).save_pretrained(folder)
    trained = train(FRAMES, folder, workspace / "random", model_params(folder), params, runtime())
    assert trained.model.config.pad_token_id == 0
    chosen = params.model_copy(update={"head_start": "probe"})
    with pytest.raises(UserError, match=r"train\.head_start: the head of a qwen2 reads every token.*: set random"):
        train(FRAMES, folder, workspace / "probe", model_params(folder), chosen, runtime())


def test_an_encoder_that_says_no_numbers_is_one_line(
    tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    folder = with_weights(tiny_model("bert"), lambda weights: weights["pooler.dense.bias"].fill_(float("nan")))
    chosen = params.model_copy(update={"head_start": "probe"})
    with pytest.raises(UserError, match="of 10 of 10 documents is infinite or no number"):
        train(FRAMES, folder, workspace / "checkpoints", model_params(folder), chosen, runtime())


@pytest.mark.parametrize("kind", ["bert", "distilbert", "modernbert", "neobert"])
def test_attention_drops_what_the_params_say(kind: str, tiny_model: Callable[[str], Path]) -> None:
    folder = tiny_model(kind)
    model = load_model(folder, model_params(folder), class_label(FRAMES["train"], FRAMES["validation"]), 0.25)
    found = {key: value for key, value in model.config.to_dict().items() if key in ATTENTION_DROPOUT}
    assert set(found.values()) == ({0.25} if kind != "neobert" else set())


def test_a_folder_that_is_no_model_is_one_line(workspace: Path) -> None:
    (workspace / "odd").mkdir()
    (workspace / "odd/model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_tokenizer(locate(str(workspace / "odd"), "main"), "odd", 32)


def test_the_bundled_model_is_the_published_one() -> None:
    assert locate(BUNDLED, "main") == verified_bundled_folder()


def test_precision_can_be_fixed() -> None:
    assert use_bf16("bf16", "cpu")
    assert not use_bf16("fp32", "cuda")


def test_a_launcher_of_several_processes_is_refused(workspace: Path) -> None:
    """They would wait for each other's lock for ever."""
    finished = run_stage("train", cwd=workspace, WORLD_SIZE="2")
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: train: uses one device")
