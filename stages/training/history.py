"""The history of a run, written with DVCLive as training goes."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dvclive.monitor_system
import torch
from dvclive import Live
from transformers import ProgressCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

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


class Bar(ProgressCallback):
    """The Trainer's progress bar without its line for every log entry."""

    def on_log(self, *args: object, **kwargs: object) -> None:
        """Write nothing: `History` says how each epoch ended."""


class History(TrainerCallback):
    """Logs step-wise loss and learning rate and epoch-wise validation scores; the step is the global step."""

    def __init__(self, live: Live, epochs: int) -> None:
        self.live = live
        self.epochs = epochs

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        # DVC has deleted the files of the part before a resume; the Trainer's state remembers their content.
        for entry in state.log_history:
            self._write(entry, int(entry["step"]))

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
        self._write(logs, state.global_step)
        if "eval_macro_f1" in logs:
            log.info(
                "epoch %d of %d: validation loss %.3f, macro F1 %.3f",
                round(state.epoch or 0),
                self.epochs,
                logs["eval_loss"],
                logs["eval_macro_f1"],
            )

    def _write(self, logs: dict[str, float], step: int) -> None:
        self.live.step = step
        for key, name in NAMES.items():
            if key in logs:
                self.live.log_metric(name, float(logs[key]))
        self.live.make_summary()
