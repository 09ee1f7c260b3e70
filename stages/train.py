"""Stage 5: fine-tunes the encoder on train, keeps the epoch that is best on validation."""

import hashlib
import logging
import platform
import shutil
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
import torch
from transformers import EvalPrediction, PrinterCallback, Trainer, set_seed

from stages.backbone.params import ModelParams
from stages.backbone.resolve import locate
from stages.corpus.tables import SPLIT, read_table
from stages.evaluation.scores import scores
from stages.files import Metrics, write_json
from stages.params import read_section
from stages.params.seeds import derive
from stages.runtime.command import run
from stages.runtime.device import resolve_device
from stages.runtime.settings import RuntimeSettings, read_runtime
from stages.store import cache_folder
from stages.training.attention import fast_gradients
from stages.training.checkpoints import alone_with, checkpoint_folder, last_checkpoint
from stages.training.data import class_label, encode
from stages.training.frozen import allocate, frozen_blocks_run_once
from stages.training.history import Bar, History, open_history
from stages.training.model import freeze, load_model, load_tokenizer
from stages.training.params import TrainParams
from stages.training.pooling import only_first_token
from stages.training.precision import use_bf16
from stages.training.trainer import FineTuner, make_arguments, memory_errors_named, selection

log = logging.getLogger(__name__)

MODEL = Path("models/classifier")
# Rooms whose code a run depends on; a test holds them against the imports.
CODE = ("backbone", "corpus", "evaluation", "files", "neobert", "params", "store", "training")
RECORDED = ("torch", "transformers", "tokenizers", "accelerate", "datasets", "safetensors", "numpy")


def train(
    frames: dict[str, pl.DataFrame],
    backbone: Path,
    checkpoints: Path,
    model_params: ModelParams,
    params: TrainParams,
    runtime: RuntimeSettings,
) -> tuple[Trainer, Metrics]:
    """Fine-tune the encoder in folder `backbone`.

    Args:
        frames: `train` and `validation`: `document_id`, `text`, `label`.
        checkpoints: where checkpoints go; training goes on from the last one there.

    Returns:
        The trainer holding the best epoch's model and its tokenizer, and the metrics.
    """
    device = resolve_device(runtime.device)
    bf16 = use_bf16(params.precision, device)
    log.info("train: %s on %s in %s", model_params.name, device, "bf16" if bf16 else "fp32")
    set_seed(derive(params.seed, "train"))
    classes = class_label(frames["train"], frames["validation"])
    tokenizer = load_tokenizer(backbone, model_params.name, model_params.max_length)
    model = load_model(backbone, model_params, classes, params.attention_dropout)
    freeze(model, params.trainable_layers)
    data, cut = {}, {}
    for side, frame in frames.items():
        data[side], cut[side] = encode(frame, classes, tokenizer, model_params.max_length)

    if cut["train"].documents:
        log.info(
            "train: %d of %d documents are longer than model.max_length (%d): %.0f %% of all tokens are not read",
            cut["train"].documents,
            len(frames["train"]),
            model_params.max_length,
            100 * cut["train"].tokens,
        )

    arguments = make_arguments(params, len(data["train"]), checkpoints, device, bf16)

    def measure(prediction: EvalPrediction) -> dict[str, float]:
        found = scores(prediction.label_ids, prediction.predictions.argmax(-1), range(classes.num_classes))
        return {**found, "selection": selection(found[params.best_by], float(np.mean(prediction.losses)))}

    def room(rows: int, columns: int, dtype: torch.dtype) -> torch.Tensor:
        return allocate(rows, columns, dtype, runtime.states_mb, checkpoints / "states")

    with (
        memory_errors_named(device),
        frozen_blocks_run_once(model.to(device), data, tokenizer, bf16, room) as (rows, collator),
        only_first_token(model),
        fast_gradients(model, bf16),
        open_history(runtime.monitor) as live,
    ):
        trainer = FineTuner(
            model=model,
            args=arguments,
            train_dataset=rows["train"],
            eval_dataset=rows["validation"],
            data_collator=collator,
            processing_class=tokenizer,
            compute_metrics=measure,
            callbacks=[History(live, params.epochs)],
        )
        trainer.remove_callback(PrinterCallback)
        if sys.stderr.isatty():
            trainer.add_callback(Bar())
        if runtime.tensorboard:
            _log_to_tensorboard(trainer, checkpoints.name)
        last = last_checkpoint(checkpoints)
        if last:
            log.info("train: goes on from checkpoint %s", last.name)
        trainer.train(resume_from_checkpoint=last and str(last))

    evaluations = [entry for entry in trainer.state.log_history if "eval_selection" in entry]
    best = max(evaluations, key=lambda entry: entry["eval_selection"])
    weights = list(model.parameters())
    metrics: Metrics = {
        "documents": {side: len(frame) for side, frame in frames.items()},
        "best_epoch": round(best["epoch"]),
        "validation": {name: best[f"eval_{name}"] for name in ("macro_f1", "weighted_f1", "accuracy")},
        "steps": trainer.state.global_step,
        "cut_off": {
            "documents": round(cut["train"].documents / len(frames["train"]), 4),
            "tokens": cut["train"].tokens,
        },
        "parameters": {
            "trainable": sum(weight.numel() for weight in weights if weight.requires_grad),
            "total": sum(weight.numel() for weight in weights),
        },
    }
    return trainer, metrics


def _log_to_tensorboard(trainer: Trainer, run_name: str) -> None:
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    folder = cache_folder() / "tensorboard" / run_name
    trainer.add_callback(TensorBoardCallback(SummaryWriter(str(folder))))
    log.info("train: TensorBoard files in %s", folder)


def save(trainer: Trainer, folder: Path, provenance: Mapping[str, object]) -> None:
    """Write model, tokenizer and provenance to `folder`, whole or not at all."""
    partial = folder.with_name(f".{folder.name}-partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        trainer.model.save_pretrained(partial)
        trainer.processing_class.save_pretrained(partial)
        write_json(partial / "provenance.json", provenance)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def main() -> None:
    """Train on data/split/ into models/classifier/ and metrics/train*."""
    params, model_params = read_section("train", TrainParams), read_section("model", ModelParams)
    runtime = read_runtime()
    sides = {side: SPLIT / f"{side}.parquet" for side in ("train", "validation")}
    frames = {side: read_table(path) for side, path in sides.items()}
    backbone = locate(model_params.name, model_params.revision)
    weights = sorted(backbone.glob("*.safetensors"))
    packages = {package: version(package) for package in RECORDED}
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
    provenance = {
        "backbone": model_params.name,
        "revision": backbone.name if backbone.parent.name == "snapshots" else None,
        "backbone_sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in weights},
        "python": platform.python_version(),
        "packages": packages,
    }
    with alone_with(checkpoints):
        trainer, metrics = train(frames, backbone, checkpoints, model_params, params, runtime)
        save(trainer, MODEL, provenance)
        write_json(Path("metrics/train.json"), metrics)
        shutil.rmtree(checkpoints)
    log.info("train: best epoch %s, validation macro F1 %.3f", metrics["best_epoch"], metrics["validation"]["macro_f1"])


if __name__ == "__main__":
    run(main)
