"""Fitting the model to some of the documents and choosing its best epoch by others: once, or once a fold."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import (
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    set_seed,
)

from stages.evaluation.scores import scores
from stages.params.seeds import derive
from stages.training.checkpoints import last_checkpoint
from stages.training.data import Collator
from stages.training.params import TrainParams
from stages.training.probe import fitted_head
from stages.training.trainer import FineTuner, make_arguments, selection

log = logging.getLogger(__name__)

SCORES = ("macro_f1", "weighted_f1", "accuracy", "loss")
POWERS = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}


@dataclass(frozen=True)
class Task:
    """What all fits of a run share.

    Args:
        model: on its device, with the weights that each fit starts from.
        rows: every document, as `encode` and `frozen_blocks_run_once` give them.
        collator: makes batches of rows.
        start: the weights that learn, as each fit finds them.
        features: of each document [windows, width]: what the head's first weights are fitted to; None: they are those
            of `start`.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    rows: Dataset
    collator: Collator
    params: TrainParams
    bf16: bool
    start: dict[str, Tensor]
    features: list[Tensor] | None


@dataclass(frozen=True)
class Fitted:
    """The trainer of a fit, whose model is that of the best epoch (0: the start), and its scores on validation."""

    trainer: FineTuner
    epoch: int
    validation: dict[str, float]


def initial_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return a copy of the weights that training changes."""
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def fit(
    task: Task,
    train: Sequence[int],
    validation: Sequence[int],
    purpose: str,
    checkpoints: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> Fitted:
    """Train `task.model` from its start and leave it with the best epoch's weights, or the start's if those are better.

    Args:
        train, validation: places in the task's rows.
        purpose: what the seeds of dropout and order are derived for.
        checkpoints: where checkpoints go; training goes on from the last one there.
    """
    params, model = task.params, task.model
    labels = task.rows.select(train)["labels"][:]
    start = task.start
    if task.features is not None:
        start = {**start, **fitted_head(model, [task.features[place] for place in train], labels)}
    model.load_state_dict(start, strict=False)
    weights = class_weights(labels, model.config.num_labels, params.class_weights)
    trainer = FineTuner(
        weights,
        model=model,
        args=make_arguments(params, len(train), purpose, checkpoints, model.device.type, task.bf16),
        train_dataset=task.rows.select(train),
        # By length: less padding.
        eval_dataset=task.rows.select(sorted(validation, key=task.rows["length"][:].__getitem__)),
        data_collator=task.collator,
        processing_class=task.tokenizer,
        compute_metrics=lambda prediction: measure(prediction, params.best_by, weights),
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    evaluations = [{**trainer.evaluate(), "epoch": 0}]
    last = last_checkpoint(checkpoints)
    if last:
        log.info("%s: goes on from %s", purpose, last.name)
    set_seed(derive(params.seed, purpose))
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    evaluations += [entry for entry in trainer.state.log_history if "eval_selection" in entry]
    best = max(evaluations, key=lambda entry: entry["eval_selection"])
    if not best["epoch"]:
        log.info("%s: no epoch is better on validation than the start: the start is kept", purpose)
        model.load_state_dict(start, strict=False)
    return Fitted(trainer, round(best["epoch"]), {name: round(best[f"eval_{name}"], 4) for name in SCORES})


def class_weights(labels: Sequence[int], classes: int, how: str) -> Tensor:
    """Return [classes] the weight of a document of each class: a power of how many the class has.

    With `none` every document weighs the same, with `balanced` every class does, and `sqrt` is halfway (Mahajan et al.
    2018, "Exploring the Limits of Weakly Supervised Pretraining", https://arxiv.org/abs/1805.00932). The mean over the
    documents is 1; if not `none`, a class without any has weight 0.
    """
    counts = torch.bincount(torch.tensor(labels), minlength=classes).float()
    weights = counts ** -POWERS[how]
    weights = weights.where(weights.isfinite(), 0.0)
    return weights / weights[labels].mean()


def measure(prediction: EvalPrediction, best_by: str, weights: Tensor) -> dict[str, float]:
    """Return the scores of an evaluation and `selection`, in which the best epoch is highest.

    Args:
        prediction: logits [documents, classes] and class numbers [documents].
        weights: [classes] of a document of each class in the loss.
    """
    logits, labels = torch.from_numpy(prediction.predictions), torch.from_numpy(prediction.label_ids)
    losses = torch.nn.functional.cross_entropy(logits.float(), labels, weights, reduction="none")
    loss = float(losses.mean())
    found = scores(prediction.label_ids, prediction.predictions.argmax(-1), range(logits.shape[1]))
    chosen = -loss if best_by == "loss" else selection(found[best_by], loss)
    return {**found, "selection": chosen}


def logits(task: Task, trainer: FineTuner, places: Sequence[int]) -> np.ndarray:
    """Return the fitted model's logits [documents, classes] (float32) for the rows at `places`."""
    found: np.ndarray = torch.from_numpy(trainer.predict(task.rows.select(places)).predictions).float().numpy()
    return found


def probabilities(task: Task, trainer: FineTuner, places: Sequence[int]) -> np.ndarray:
    """Return the fitted model's probabilities [documents, classes], not calibrated, for the rows at `places`."""
    found: np.ndarray = torch.from_numpy(logits(task, trainer, places)).softmax(-1).numpy()
    return found
