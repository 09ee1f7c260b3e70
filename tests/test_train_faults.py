"""What goes wrong while a model is trained: kills, half-written checkpoints, a full disk, the same run twice."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

import pytest
import torch
import transformers.trainer
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, TrainerCallback

import stages.train
from stages.corpus.tables import write_table
from stages.params import load
from stages.runtime.errors import UserError
from stages.train import train
from stages.training.checkpoints import last_checkpoint
from stages.training.fitting import SCORES
from stages.training.params import TrainParams
from stages.training.trainer import FineTuner
from tests.closure import closure
from tests.conftest import ROOT, edit_params
from tests.small_training import FRAMES, SMALL, frame, model_params, runtime, small_params

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def params(workspace: Path) -> TrainParams:
    return small_params()


@pytest.fixture
def start() -> Iterator[Start]:
    """Start `python -m stages.train` in a folder; what it says goes into `log` there, and it dies with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(folder: Path, **environment: str) -> subprocess.Popen[bytes]:
        with (folder / "log").open("ab") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "stages.train"],
                    cwd=folder,
                    env={**os.environ, "PYTHONPATH": str(ROOT), "PIPELINE_CACHE": ".cache", **environment},
                    stderr=log,
                )
            )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


def set_up(folder: Path, model: Path, **changes: object) -> Path:
    """Make `folder` a place to train `model` in, as the stages before leave it."""
    folder.mkdir(exist_ok=True)
    shutil.copy(ROOT / "params.yaml", folder)
    section = {f"train.{key}": value for key, value in {**SMALL, **changes}.items()}
    others = {"model.name": str(model), "model.max_length": 32, "runtime.device": "cpu", "runtime.states_mb": 0}
    edit_params(folder / "params.yaml", section | others)
    write_table(frame(8), folder / "data/split/train.parquet")
    write_table(frame(2, "validation"), folder / "data/split/validation.parquet")
    return folder


def outputs(folder: Path) -> dict[str, bytes]:
    files = (
        file for top in ("models", "metrics", "data/folds") for file in (folder / top).rglob("*") if file.is_file()
    )
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def said(folder: Path) -> str:
    return (folder / "log").read_text(encoding="utf-8")


def wait_until(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    """Wait, looking every millisecond, until `condition` is met; fail if the process ends before."""
    deadline = time.monotonic() + 100
    while not condition():
        assert process.poll() is None, f"ended with {process.returncode} before it came to that"
        assert time.monotonic() < deadline
        time.sleep(0.001)


def changes(process: subprocess.Popen[bytes], folder: Path) -> Iterator[None]:
    """Yield each time the process is seen to have written something, until it ends."""

    def sizes() -> dict[str, int]:
        found = {}
        for top in (".cache", "models", "metrics"):
            for place, _, names in os.walk(folder / top):
                for name in names:
                    try:
                        found[f"{place}/{name}"] = os.stat(f"{place}/{name}").st_size  # noqa: PTH116
                    except FileNotFoundError:
                        continue
        return found

    before = sizes()
    while process.poll() is None:
        if (now := sizes()) != before:
            before = now
            yield
        time.sleep(0.001)


def test_a_run_killed_at_random_points_ends_with_the_bytes_of_an_uninterrupted_one(
    tiny_model: Callable[[str], Path], tmp_path: Path, start: Start
) -> None:
    kills = 3
    model = tiny_model("bert")
    whole, cut = (
        set_up(tmp_path / name, model, epochs=20, lr=0.03, trainable_layers=1, folds=2) for name in ("whole", "killed")
    )
    process = start(whole)
    events = sum(1 for _ in changes(process, whole))
    assert process.wait() == 0, said(whole)

    draw = random.Random(3)
    points: list[tuple[int, float]] = []
    for _ in range(kills):
        points.append((draw.randint(1, events // kills), draw.uniform(0, 0.03)))
        process = start(cut)
        for _ in islice(changes(process, cut), points[-1][0]):
            pass
        time.sleep(points[-1][1])
        process.kill()
        assert process.wait() == -signal.SIGKILL, f"{points} of {events} changes\n{said(cut)}"
        if draw.random() < 0.5:
            shutil.rmtree(cut / "metrics", ignore_errors=True)  # as DVC does before it starts the command again

    process = start(cut)
    wait_until((cut / "models/.classifier-partial").exists, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process = start(cut)
    assert process.wait() == 0, said(cut)

    assert said(cut).count("goes on from") >= 2, said(cut)
    assert said(cut).rsplit("goes on from ", 1)[1].startswith("checkpoint-80\n")
    assert outputs(cut) == outputs(whole), f"killed after {points} of {events} changes\n{said(cut)}"
    assert list((cut / ".cache/checkpoints").iterdir()) == []


class KilledError(Exception):
    pass


class KillAfterFirstEpoch(TrainerCallback):
    def on_epoch_begin(self, args, state, control, **kwargs) -> None:  # type: ignore[no-untyped-def]
        if state.epoch and state.epoch >= 1:
            raise KilledError


@pytest.mark.parametrize("logs", [500, 2])
def test_a_resumed_run_ends_with_the_weights_and_the_history_of_an_uninterrupted_one(
    logs: int, tiny_model: Callable[[str], Path], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.training.trainer.MAX_LOGS", logs)  # 2: every third step, and an epoch has two
    folder = tiny_model("bert")
    args = (model_params(folder), small_params(epochs=3), runtime())
    whole = train(FRAMES, folder, workspace / "whole", *args)
    history = {file: file.read_text() for file in Path("metrics/train").rglob("*") if file.is_file()}

    with monkeypatch.context() as patch:
        usual = transformers.trainer.DEFAULT_CALLBACKS
        patch.setattr(transformers.trainer, "DEFAULT_CALLBACKS", [*usual, KillAfterFirstEpoch])
        with pytest.raises(KilledError):
            train(FRAMES, folder, workspace / "cut", *args)
    assert list((workspace / "cut/train").glob("checkpoint-*"))
    shutil.rmtree("metrics/train")  # as DVC does before it starts the command again
    resumed = train(FRAMES, folder, workspace / "cut", *args)

    assert resumed.metrics == whole.metrics
    ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert {file: file.read_text() for file in Path("metrics/train").rglob("*") if file.is_file()} == history


def test_a_trained_run_found_in_another_folder_ends_with_the_best_model_and_not_the_last(
    tiny_model: Callable[[str], Path], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def third_is_best(*_: object) -> dict[str, float]:
        return {**dict.fromkeys(SCORES, 0.5), "selection": -abs(next(asked) - 3)}

    monkeypatch.setattr("stages.training.fitting.measure", third_is_best)
    folder = tiny_model("bert")
    args = (model_params(folder), small_params(epochs=6), runtime())
    asked = count()
    whole = train(FRAMES, folder, workspace / "before", *args)
    assert whole.metrics["best_epoch"] == 3
    (workspace / "before").rename(workspace / "after")
    found = last_checkpoint(workspace / "after/train")
    assert found == workspace / "after/train/checkpoint-12"
    asked = count()
    resumed = train(FRAMES, folder, workspace / "after", *args)
    assert resumed.metrics == whole.metrics
    ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_checkpoints_belong_to_every_file_that_a_run_reads(
    tiny_model: Callable[[str], Path], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("bert")
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling/config.json").write_text("{}")
    set_up(workspace, model)
    used: set[Path] = set()
    said: dict[str, object] = {}

    def note(settings: dict[str, object], files: list[Path]) -> Path:
        used.update(file.absolute() for file in files)
        said.update(settings)
        raise KilledError

    monkeypatch.setattr(stages.train, "checkpoint_folder", note)
    with pytest.raises(KilledError):
        stages.train.main()
    assert {ROOT / file for file in closure("train", ROOT)} <= used
    assert {file for file in model.rglob("*") if file.is_file()} <= used
    assert {workspace / f"data/split/{side}.parquet" for side in ("train", "validation")} <= used
    assert {section: said[section] for section in ("train", "model")} == {
        section: load()[section] for section in ("train", "model")
    }


def test_checkpoints_hold_what_learns(tiny_model: Callable[[str], Path], workspace: Path) -> None:
    for kind in ("bert", "neobert"):
        folder = tiny_model(kind)
        args = (model_params(folder), small_params(epochs=1, trainable_layers=1), runtime())
        trained = train(FRAMES, folder, workspace / kind, *args)
        [kept] = (workspace / kind).glob("train/checkpoint-*/model.safetensors")
        assert sum(weight.numel() for weight in load_file(kept).values()) == trained.metrics["parameters"]["trainable"]


def test_the_same_run_twice_at_once_gives_the_same_twice(
    tiny_model: Callable[[str], Path], tmp_path: Path, start: Start
) -> None:
    model = tiny_model("bert")
    one, two = (set_up(tmp_path / name, model, trainable_layers=1) for name in ("one", "two"))
    cache = tmp_path / "cache"
    first = start(one, PIPELINE_CACHE=str(cache))
    wait_until(lambda: list(cache.glob("checkpoints/*/states")), first)
    first.send_signal(signal.SIGSTOP)
    second = start(two, PIPELINE_CACHE=str(cache))
    wait_until(lambda: "waiting until it ends" in said(two), second)
    first.send_signal(signal.SIGCONT)
    assert (first.wait(), second.wait()) == (0, 0), said(one) + said(two)
    assert "goes on from" not in said(two)
    assert outputs(one) == outputs(two)
    assert list((cache / "checkpoints").iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A disk of so many MiB; called again, it grows."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def of(size: int) -> Path:
        options = f"{'remount,' if folder.is_mount() else ''}size={size}m"
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("mounting a small tmpfs needs root")
        return folder

    yield of
    if folder.is_mount():
        subprocess.run(["umount", folder], check=True)


def test_a_disk_full_of_checkpoints_is_one_line_and_with_more_room_the_run_goes_on(
    tiny_tokenizer: Path, tmp_path: Path, small_disk: Callable[[int], Path], start: Start
) -> None:
    model = shutil.copytree(tiny_tokenizer, tmp_path / "model")
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 2, "num_hidden_layers": 2}
    AutoModel.from_config(AutoConfig.for_model("bert", vocab_size=300, **sizes)).save_pretrained(model)
    place = set_up(tmp_path / "place", model)
    # Weights are 7 MiB, the optimiser's state 14: no room for the first weights, for the second state, enough for all.
    for size, written, exit_code in ((4, [], 1), (34, ["checkpoint-4"], 1), (100, [], 0)):
        (place / "log").unlink(missing_ok=True)
        cache = small_disk(size)
        process = start(place, PIPELINE_CACHE=str(cache))
        assert process.wait() == exit_code, said(place)
        whole = [path.parent.name for path in cache.glob("checkpoints/*/train/*/trainer_state.json")]
        assert whole == written
        assert "Traceback" not in said(place)
        if exit_code:
            assert said(place).splitlines()[-1].startswith("error: no space left on the disk while writing ")
            assert not (place / "models").exists()
    assert "goes on from checkpoint-4" in said(place)
    assert "models/classifier/model.safetensors" in outputs(place)


def test_a_loss_that_is_no_number_stops_at_once_and_says_what_to_try(
    tiny_model: Callable[[str], Path], params: TrainParams, workspace: Path
) -> None:
    folder = tiny_model("bert")
    wild = params.model_copy(update={"lr": 1e38, "warmup": 0.0})
    with pytest.raises(UserError, match=r"the loss is nan in step 2 of 4, at learning rate .*: lower train\.lr"):
        train(FRAMES, folder, workspace / "checkpoints", model_params(folder), wild, runtime())


@pytest.mark.parametrize(
    "fault",
    [
        torch.OutOfMemoryError("CUDA"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("unable to mmap 100 bytes from file <states>: Cannot allocate memory (12)"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"),
    ],
)
def test_running_out_of_memory_names_the_knobs(
    fault: Exception,
    tiny_model: Callable[[str], Path],
    params: TrainParams,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise fault

    monkeypatch.setattr(FineTuner, "training_step", full)
    folder = tiny_model("bert")
    with pytest.raises(UserError, match=r"out of memory on cpu: halve train\.batch_size .*halve train\.batch_tokens"):
        train(FRAMES, folder, workspace / "checkpoints", model_params(folder), params, runtime())
