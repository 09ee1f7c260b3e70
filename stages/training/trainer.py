"""transformers' Trainer as this pipeline uses it."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys as IncompatibleKeys
from transformers import PreTrainedModel, Trainer, TrainingArguments

from stages.params.seeds import derive
from stages.runtime.errors import UserError
from stages.training.order import ShuffledBatches
from stages.training.params import TrainParams
from stages.windows import log_mean_exp

# What torch says, its CUDA, cuBLAS, MPS and CPU parts each in their own words.
NO_MEMORY = ("out of memory", "allocate memory", "alloc_failed")
# Loss and learning rate are logged at most so many times in a run, at every step of a short one.
MAX_LOGS = 500


def make_arguments(
    params: TrainParams, documents: int, purpose: str, checkpoints: Path, device: str, bf16: bool
) -> TrainingArguments:
    """Return the Trainer's arguments for training on so many `documents`; seeds are derived for `purpose`."""
    steps_per_epoch = -(-documents // (params.batch_size * params.gradient_accumulation))
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=params.epochs,
        learning_rate=params.lr,
        per_device_train_batch_size=params.batch_size,
        per_device_eval_batch_size=params.batch_size,
        gradient_accumulation_steps=params.gradient_accumulation,
        weight_decay=params.weight_decay,
        warmup_steps=params.warmup,
        label_smoothing_factor=params.label_smoothing,
        optim="adamw_torch_fused",
        bf16=bf16,
        use_cpu=device == "cpu",
        # A loss that is no number is an error (below), not something to leave out of the log.
        logging_nan_inf_filter=False,
        eval_strategy="epoch",
        save_strategy="epoch",
        # The best and the last. With 1 the Trainer deletes the last when it has trained, and a run that dies while it
        # writes the model has the epochs since the best to do again.
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="selection",
        greater_is_better=True,
        logging_steps=-(-steps_per_epoch * params.epochs // MAX_LOGS),
        seed=derive(params.seed, purpose),
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # else the Trainer silently splits each batch over all GPUs
    return arguments


def selection(score: float, loss: float) -> float:
    """Return what the best epoch is best in: the score, and among equal ones the lower validation loss.

    Args:
        score: rounded to 4 digits; a few dozen validation documents leave many epochs with the same one.
        loss: 0 or more.
    """
    return score + 1e-5 * math.exp(-loss)


class FineTuner(Trainer):
    """A Trainer whose documents may have several windows, and which stops when the loss is no longer a number."""

    loss_is_scaled_for_ga = False

    def __init__(self, class_weights: Tensor, **options: object) -> None:
        """Take [classes] the weight of a document of each class in the loss, and what the Trainer takes."""
        super().__init__(**options)
        self.class_weights = class_weights

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> ShuffledBatches:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return ShuffledBatches(batch, lengths=dataset["length"][:])

    def compute_loss(
        self, model: PreTrainedModel, inputs: dict[str, Tensor], return_outputs: bool = False, *_: object, **__: object
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted cross-entropy of the documents' logits, those of their windows combined.

        Labels are smoothed in training alone.

        Args:
            inputs: a batch as `collate` makes it.
            return_outputs: return also these `logits` [documents, classes].
        """
        labels, document = inputs.pop("labels"), inputs.pop("document")
        logits = log_mean_exp(model(**inputs).logits, document, len(labels))
        smoothing = self.args.label_smoothing_factor if model.training else 0.0
        # torch's own weighted mean would cancel the weight of a document that is alone in its batch.
        loss = nn.functional.cross_entropy(
            logits, labels, self.class_weights.to(logits.device), reduction="none", label_smoothing=smoothing
        ).mean()
        return (loss, {"logits": logits}) if return_outputs else loss

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        # What is frozen would be the same in every checkpoint.
        whole, frozen = self.model.state_dict() if state_dict is None else state_dict, self._frozen()
        super()._save(output_dir, {name: weight for name, weight in whole.items() if name not in frozen})

    def _issue_warnings_after_load(self, load_result: IncompatibleKeys) -> None:
        missing = sorted(set(load_result.missing_keys) - self._frozen())
        super()._issue_warnings_after_load(IncompatibleKeys(missing, load_result.unexpected_keys))

    def _frozen(self) -> set[str]:
        return {name for name, weight in self.model.named_parameters() if not weight.requires_grad}

    def training_step(self, model: PreTrainedModel, inputs: dict[str, Tensor], *rest: object) -> Tensor:
        """Take a step as the Trainer does.

        Raises:
            UserError: if the loss is infinite or not a number.
        """
        self.state.num_input_tokens_seen += int(inputs["attention_mask"].sum())
        loss: Tensor = super().training_step(model, inputs, *rest)
        if not torch.isfinite(loss):
            raise UserError(
                f"train: the loss is {float(loss)} in step {self.state.global_step + 1} of {self.state.max_steps}, at "
                f"learning rate {self._get_learning_rate():.3g}: lower train.lr, raise train.warmup, or set "
                "train.precision: fp32"
            )
        return loss


@contextmanager
def memory_errors_named(device: str) -> Iterator[None]:
    """Turn running out of memory into a UserError that says what to change."""
    try:
        yield
    except (RuntimeError, MemoryError) as fault:  # torch.OutOfMemoryError is one; of others only the text tells
        said = str(fault).lower()
        if not isinstance(fault, torch.OutOfMemoryError | MemoryError) and not any(part in said for part in NO_MEMORY):
            raise
        raise UserError(
            f"train: out of memory on {device}: halve train.batch_size and double train.gradient_accumulation (the "
            "same steps in smaller parts), or halve train.batch_tokens (what the frozen blocks read at a time), or "
            "lower model.max_length or train.trainable_layers"
        ) from None
