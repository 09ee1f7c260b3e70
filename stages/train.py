"""Stage 5: fine-tunes the encoder on train, keeps the epoch that is best on validation."""

import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from stages.backbone.params import ModelParams
from stages.backbone.resolve import locate
from stages.corpus.tables import COLUMNS, LEARNING_CURVE, OUT_OF_FOLD, SPLIT, read_table, write_table
from stages.evaluation.calibration import fit_temperature
from stages.files import Metrics, write_json
from stages.params import read_section
from stages.params.seeds import derive
from stages.runtime.command import run
from stages.runtime.device import resolve_device
from stages.runtime.errors import UserError
from stages.runtime.lock import alone_with
from stages.runtime.settings import RuntimeSettings, read_runtime
from stages.training.attention import fast_gradients
from stages.training.checkpoints import checkpoint_folder
from stages.training.data import Truncation, class_label, encode
from stages.training.fitting import Task, fit, initial_weights, logits
from stages.training.folds import WHOLE, cross_validate, summarise
from stages.training.frozen import allocate, frozen_blocks_run_once
from stages.training.history import Bar, History, log_to_tensorboard, open_history
from stages.training.model import freeze, load_model, load_tokenizer
from stages.training.params import TrainParams
from stages.training.pooling import only_first_token
from stages.training.precision import use_bf16
from stages.training.probe import features
from stages.training.provenance import package_versions, provenance
from stages.training.trainer import memory_errors_named

log = logging.getLogger(__name__)

MODEL = Path("models/classifier")
# Rooms whose code a run depends on; a test holds them against the imports.
CODE = ("backbone", "corpus", "evaluation", "files", "neobert", "params", "splitting", "store", "training", "windows")


@dataclass(frozen=True)
class Trained:
    """The model of the best epoch with its tokenizer and temperature, the predictions of folds, and the metrics."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    temperature: float
    out_of_fold: pl.DataFrame
    learning_curve: pl.DataFrame
    metrics: Metrics


@contextmanager
def prepared(
    frames: Mapping[str, pl.DataFrame],
    backbone: Path,
    checkpoints: Path,
    model_params: ModelParams,
    params: TrainParams,
    runtime: RuntimeSettings,
) -> Iterator[tuple[Task, Truncation]]:
    """Yield what every fit to the documents of `train` and then `validation` shares, and what of them is not read.

    The arguments, and what is raised, are those of `train`. Afterwards the model is whole again.
    """
    device = resolve_device(runtime.device)
    bf16 = use_bf16(params.precision, device)
    log.info("train: %s on %s in %s", model_params.name, device, "bf16" if bf16 else "fp32")
    set_seed(derive(params.seed, "head"))
    classes = class_label(frames["train"], frames["validation"])
    tokenizer = load_tokenizer(backbone, model_params.name, model_params.max_length)
    model = load_model(backbone, model_params, classes, params.attention_dropout)
    # Some configs leave it to the tokenizer, and their models then read no two texts at once.
    model.config.pad_token_id = tokenizer.pad_token_id
    freeze(model, params.trainable_layers)
    documents = pl.concat([frames["train"], frames["validation"]])
    rows, cut = encode(documents, classes, tokenizer, model_params)
    if cut.documents:
        log.info(
            "train: %d of %d documents are longer than model.max_length (%d): %.1f %% of all tokens are not read",
            cut.documents,
            len(documents),
            model_params.max_length,
            100 * cut.tokens,
        )

    def room(rows: int, columns: int, dtype: torch.dtype) -> torch.Tensor:
        return allocate(rows, columns, dtype, runtime.states_mb, checkpoints / "states")

    with (
        memory_errors_named(device),
        frozen_blocks_run_once(model.to(device), rows, tokenizer, bf16, params.batch_tokens, room) as (
            rows,
            collator,
        ),
        only_first_token(model),
        fast_gradients(model, bf16),
    ):
        found = features(model, rows, collator, bf16, params.batch_tokens) if params.head_start == "probe" else None
        yield Task(model, tokenizer, rows, collator, params, bf16, initial_weights(model), found), cut


def train(
    frames: dict[str, pl.DataFrame],
    backbone: Path,
    checkpoints: Path,
    model_params: ModelParams,
    params: TrainParams,
    runtime: RuntimeSettings,
) -> Trained:
    """Fine-tune the encoder in folder `backbone`.

    Args:
        frames: `train` and `validation`: `document_id`, `text`, `label`, `group`.
        checkpoints: where checkpoints go; training goes on from the last ones there.

    Raises:
        UserError: if the model, its parameters and the documents do not fit together, or training fails for want of
            memory or a finite loss.
    """
    border, documents = len(frames["train"]), pl.concat([frames["train"], frames["validation"]])
    folds = pl.DataFrame(schema=COLUMNS[OUT_OF_FOLD.name] | COLUMNS[LEARNING_CURVE.name])
    with prepared(frames, backbone, checkpoints, model_params, params, runtime) as (task, cut):
        if params.folds:
            share = len(frames["validation"]) / len(documents)
            folds = cross_validate(task, documents, share, checkpoints)
        with open_history(runtime.monitor) as live:
            callbacks = [History(live, params.epochs, runtime.monitor), *([Bar()] if sys.stderr.isatty() else [])]
            if runtime.tensorboard:
                callbacks.append(log_to_tensorboard(checkpoints.name))
            sides = range(border), range(border, len(documents))
            fitted = fit(task, *sides, "train", checkpoints / "train", callbacks)
        # By validation also where there are folds: their predictions are those of other models, and a way to measure
        # must not change what is measured.
        temperature = fit_temperature(logits(task, fitted.trainer, sides[1]), task.rows["labels"][border:])
        log.info("train: temperature %.2f", temperature)

    out_of_fold = folds.filter(share=WHOLE)
    weights = list(task.model.parameters())
    metrics: Metrics = {
        "documents": {side: len(frame) for side, frame in frames.items()},
        "best_epoch": fitted.epoch,
        "validation": fitted.validation,
        "steps": fitted.trainer.state.global_step,
        "cut_off": {"documents": round(cut.documents / len(documents), 4), "tokens": cut.tokens},
        "parameters": {
            "trainable": sum(weight.numel() for weight in weights if weight.requires_grad),
            "total": sum(weight.numel() for weight in weights),
        },
    }
    if params.folds:
        metrics["cross_validation"] = summarise(out_of_fold)
    curve = folds if params.learning_curve else folds.clear()
    return Trained(task.model, task.tokenizer, temperature, out_of_fold, curve, metrics)


def save(trained: Trained, folder: Path, origin: Mapping[str, object]) -> None:
    """Write model, tokenizer, temperature and where they come from to `folder`, whole or not at all."""
    partial = folder.with_name(f".{folder.name}-partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        trained.model.save_pretrained(partial)
        trained.tokenizer.save_pretrained(partial)
        write_json(partial / "temperature.json", {"temperature": trained.temperature})
        write_json(partial / "provenance.json", origin)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def main() -> None:
    """Train on data/split/ into models/classifier/, data/folds/ and metrics/train*."""
    if (processes := os.environ.get("WORLD_SIZE", "1")) != "1":
        raise UserError(
            f"train: uses one device, but a launcher (WORLD_SIZE={processes}) started it: use `dvc repro` or "
            "`python -m stages.train` alone"
        )
    params, model_params = read_section("train", TrainParams), read_section("model", ModelParams)
    runtime = read_runtime()
    sides = {side: SPLIT / f"{side}.parquet" for side in ("train", "validation")}
    frames = {side: read_table(path) for side, path in sides.items()}
    backbone = locate(model_params.name, model_params.revision)
    packages = package_versions()
    device = resolve_device(runtime.device)
    settings = {
        "train": params.model_dump(),
        "model": model_params.model_dump(),
        "device": {"device": device, "bf16": use_bf16(params.precision, device)},
        "packages": packages,
    }
    code = sorted(file for room in CODE for file in Path(__file__).with_name(room).glob("*.py"))
    files = sorted(file for file in backbone.rglob("*") if file.is_file())
    checkpoints = checkpoint_folder(settings, [*sides.values(), *files, *code, Path(__file__)])
    with alone_with(checkpoints, "train: another process trains with the same params, data and code"):
        trained = train(frames, backbone, checkpoints, model_params, params, runtime)
        save(trained, MODEL, provenance(model_params.name, backbone, packages))
        write_table(trained.out_of_fold, OUT_OF_FOLD)
        write_table(trained.learning_curve, LEARNING_CURVE)
        write_json(Path("metrics/train.json"), trained.metrics)
        shutil.rmtree(checkpoints)
    metrics = trained.metrics
    log.info("train: best epoch %s, validation macro F1 %.3f", metrics["best_epoch"], metrics["validation"]["macro_f1"])


if __name__ == "__main__":
    run(main)
