"""The history of a run, written with DVCLive as training goes."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dvclive.monitor_system
import torch
from dvclive import Live
from pynvml import NVMLError
from transformers import ProgressCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from stages.store import cache_folder

log = logging.getLogger(__name__)

# transformers' own DVCLiveCallback counts log calls as steps and logs run times and every argument,
# which would fill `dvc metrics diff` with noise.
NAMES = {
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "eval_loss": "validation/loss",
    "eval_macro_f1": "validation/macro_f1",
    "eval_weighted_f1": "validation/weighted_f1",
    "eval_accuracy": "validation/accuracy",
}


@contextmanager
def open_history(monitor: bool) -> Iterator[Live]:
    """Open metrics/train/ for a run; with `monitor` DVCLive also logs CPU, memory, disk and GPU there."""
    # DVCLive takes the presence of nvidia-ml-py for that of a driver, and then logs nothing at all.
    dvclive.monitor_system.GPU_AVAILABLE = torch.cuda.is_available()
    with Live("metrics/train", dvcyaml=None, save_dvc_exp=False, monitor_system=monitor) as live:
        yield live
    # DVCLive does not wait for its monitor, which may still be writing.
    for thread in threading.enumerate():
        if "_monitoring_loop" in thread.name:
            thread.join()


def log_to_tensorboard(run_name: str) -> TrainerCallback:
    """Return a callback that writes TensorBoard files below the cache."""
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    folder = cache_folder() / "tensorboard" / run_name
    log.info("train: TensorBoard files in %s", folder)
    return TensorBoardCallback(SummaryWriter(str(folder)))


class Bar(ProgressCallback):
    """The Trainer's progress bar without its line for every log entry."""

    def on_log(self, *args: object, **kwargs: object) -> None:
        """Write nothing: `History` says how each epoch ended."""


class History(TrainerCallback):
    """Logs step-wise loss and learning rate and epoch-wise validation scores; the step is the global step.

    With `monitor` also real tokens per second (evaluation between two logs included), and how busy a GPU is.
    """

    def __init__(self, live: Live, epochs: int, monitor: bool) -> None:
        self.live = live
        self.epochs = epochs
        self.monitor = monitor
        self.since, self.read = 0.0, 0
        self.gpu = torch.cuda.is_available()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        # DVC has deleted the files of the part before a resume; the Trainer's state remembers their content.
        for entry in state.log_history:
            self._write(entry, int(entry["step"]))
        self.since, self.read = time.perf_counter(), state.num_input_tokens_seen

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        # A checkpoint lacks the losses since the last entry: a resumed run would average over fewer of them.
        control.should_log = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        logs = logs or {}
        if self.monitor and "loss" in logs:
            self._write_speed(state)
        self._write(logs, state.global_step)
        if "eval_macro_f1" in logs:
            log.info(
                "epoch %d of %d: validation loss %.3f, macro F1 %.3f",
                round(state.epoch or 0),
                self.epochs,
                logs["eval_loss"],
                logs["eval_macro_f1"],
            )

    def _write_speed(self, state: TrainerState) -> None:
        now = time.perf_counter()
        self.live.step = state.global_step
        speed = (state.num_input_tokens_seen - self.read) / (now - self.since)
        self.live.log_metric("system/tokens_per_second", speed)
        self.since, self.read = now, state.num_input_tokens_seen
        if self.gpu:
            self._write_gpu()

    def _write_gpu(self) -> None:
        """Log what DVCLive leaves out: how busy the GPU is, and its power. Parts of a GPU (MIG) cannot tell."""
        try:
            busy, power = torch.cuda.utilization(), torch.cuda.power_draw()
        except NVMLError as fault:
            log.warning("train: this GPU does not say how busy it is (%s)", fault)
            self.gpu = False
            return
        self.live.log_metric("system/gpu/utilization (%)", busy)
        self.live.log_metric("system/gpu/power (W)", power / 1000)

    def _write(self, logs: dict[str, float], step: int) -> None:
        self.live.step = step
        for key, name in NAMES.items():
            if key in logs:
                self.live.log_metric(name, float(logs[key]))
        self.live.make_summary()
