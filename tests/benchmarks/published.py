"""The published recipe: as people write it with a Trainer, and the same in distribution at a fraction of the time.

Texts of up to `model.max_length` tokens, all but two blocks and the head frozen yet run in each epoch, learning rate
5e-4, batches of 16, label smoothing 0.1, the epoch best by weighted F1 (on validation: the account took the test set).
"""

import copy
import tempfile
import time
from collections.abc import Mapping

import numpy as np
import polars as pl
import torch
from datasets import Dataset
from sklearn.metrics import f1_score
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from stages.backbone.resolve import locate
from stages.runtime.checker import Experiment
from stages.training.attention import NAME as FLOAT32
from stages.training.data import class_label, encode
from stages.training.frozen import frozen_blocks_run_once
from stages.training.model import freeze, load_model, load_tokenizer
from stages.training.pooling import only_first_token
from stages.training.precision import use_bf16
from stages.windows import batches, pad

EPOCHS = 20
LEARNING_BLOCKS = 2
DROPOUT = 0.1
TEXT_BY_TEXT = "text_by_text"
Frames = dict[str, pl.DataFrame]


def trainer_arguments(scratch: str, epochs: int, seed: int, device: str) -> TrainingArguments:
    """Return the recipe's arguments."""
    return TrainingArguments(
        output_dir=scratch,
        num_train_epochs=epochs,
        learning_rate=5e-4,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=64,
        optim="adamw_torch_fused",
        label_smoothing_factor=0.1,
        bf16=use_bf16("auto", device),
        use_cpu=device == "cpu",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="f1",
        # The Trainer would drop what a collator of our own reads.
        remove_unused_columns=False,
        report_to="none",
        seed=seed,
        disable_tqdm=True,
    )


def weighted_f1(found: EvalPrediction) -> dict[str, float]:
    """Return what the best epoch is best in."""
    return {"f1": float(f1_score(found.label_ids, found.predictions.argmax(-1), average="weighted"))}


def run_trainer(
    frames: Frames, params: Experiment, epochs: int, seed: int, published: bool
) -> tuple[dict[str, list[str]], float]:
    """Fine-tune with a Trainer as people write it; return the answers for each frame, and the seconds of training.

    As `published`, or the same with all blocks learning and batches padded to their own longest text.
    """
    set_seed(seed)
    folder = locate(params.model.name, params.model.revision)
    classes = class_label(frames["train"], frames["validation"])
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def tokenize(batch: Mapping[str, list[str]]) -> Mapping[str, list[list[int]]]:
        tokens: Mapping[str, list[list[int]]] = tokenizer(
            batch["text"],
            truncation=True,
            padding="max_length" if published else False,
            max_length=params.model.max_length,
        )
        return tokens

    data = {
        side: Dataset.from_polars(frame.select("text", "label"))
        .cast_column("label", classes)
        .map(tokenize, batched=True, remove_columns="text")
        for side, frame in frames.items()
    }
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=classes.num_classes, dtype=torch.float32
    )
    if published:
        model.base_model.requires_grad_(False)
        for part in (*model.base_model.encoder.layer[-LEARNING_BLOCKS:], model.base_model.pooler):
            part.requires_grad_(True)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            model=model,
            args=trainer_arguments(scratch, epochs, seed, "cuda" if torch.cuda.is_available() else "cpu"),
            train_dataset=data["train"],
            eval_dataset=data["validation"],
            processing_class=tokenizer,
            compute_metrics=weighted_f1,
        )
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
        answers = {side: classes.int2str(trainer.predict(data[side]).predictions.argmax(-1).tolist()) for side in data}
    return answers, seconds


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float = 1.0,
    **options: object,
) -> tuple[Tensor, None]:
    """Attend as BERT's attention with dropout does, to each text alone, of which a processor's cache holds the scores.

    Args:
        query, key, value: [texts, heads, tokens, width].
        attention_mask: [texts, 1, queries, tokens], true where a token is real: the first ones of each text.
    """
    if not dropout:
        in_float32 = ALL_ATTENTION_FUNCTIONS[FLOAT32]
        plain: tuple[Tensor, None] = in_float32(module, query, key, value, attention_mask, scaling=scaling, **options)
        return plain
    texts, _, tokens, _ = query.shape
    lengths = [tokens] * texts if attention_mask is None else attention_mask[:, 0, 0].sum(-1).tolist()
    found = []
    with torch.autocast("cpu", enabled=False):
        for place, length in enumerate(lengths):
            asked, keys, values = (part[place, :, :length].float() for part in (query, key, value))
            weights = (asked @ keys.transpose(-1, -2) * scaling).softmax(-1)
            # Drawn in 15 bits: twice as fast as torch's own dropout.
            kept = torch.empty(weights.shape, dtype=torch.int16).random_() >= round(dropout * 2**15)
            attended = (weights * kept @ values / (1 - dropout)).transpose(0, 1)
            found.append(nn.functional.pad(attended, (0, 0, 0, 0, 0, tokens - length)))
    return torch.stack(found).to(value.dtype), None


ALL_ATTENTION_FUNCTIONS.register(TEXT_BY_TEXT, attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(TEXT_BY_TEXT, sdpa_mask)


def run_unpadded(frames: Frames, params: Experiment, epochs: int, seed: int) -> tuple[dict[str, list[str]], float]:
    """Fine-tune as published, on a CPU, without arithmetic that changes nothing: the answers and seconds as above.

    Before each epoch the frozen blocks read the training texts with dropout drawn anew, as they do in the Trainer's
    steps, but texts of a length together; steps pad to their longest text; and attention with dropout reads each text
    alone. All of it leaves the distribution of the trained model as it is: a draw of dropout belongs to one text in one
    epoch wherever it is made, and no token attends to padding.
    """
    set_seed(seed)
    model_params = params.model.model_copy(update={"pooling": "own", "long_documents": "truncate"})
    folder = locate(model_params.name, model_params.revision)
    classes = class_label(frames["train"], frames["validation"])
    tokenizer = load_tokenizer(folder, model_params.name, model_params.max_length)
    model = load_model(folder, model_params, classes, DROPOUT)
    freeze(model, LEARNING_BLOCKS)
    model.set_attn_implementation(TEXT_BY_TEXT)
    bf16 = use_bf16("auto", "cpu")
    rows, _ = encode(pl.concat(frames.values()), classes, tokenizer, model_params)
    windows = [document[0] for document in rows["windows"]]
    lower = copy.deepcopy(model.base_model)
    lower.encoder.layer, lower.pooler = lower.encoder.layer[:-LEARNING_BLOCKS], None
    kept: list[Tensor] = []

    def allocate(tokens: int, columns: int, _: torch.dtype) -> Tensor:
        kept.append(torch.empty(tokens, columns))
        return kept[0]

    with frozen_blocks_run_once(model, rows, tokenizer, bf16, params.train.batch_tokens, allocate) as (rows, collator):
        border = len(frames["train"])
        lengths = [len(ids) for ids in windows[:border]]
        states = kept[0][: sum(lengths)]
        without_dropout = states.clone()
        parts = states.split(lengths)

        class Redraw(TrainerCallback):
            def on_epoch_begin(self, *_: object, **__: object) -> None:
                lower.train()
                with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    for places in batches(lengths, 2 * model_params.max_length):
                        batch = pad([windows[place] for place in places], tokenizer)
                        found = lower(**batch).last_hidden_state
                        for place, state in zip(places, found, strict=True):
                            parts[place].copy_(state[: lengths[place]])

        def collate(batch: list[dict[str, list[int]]]) -> dict[str, Tensor]:
            inputs = collator(batch)
            del inputs["document"]  # every text is one window
            return inputs

        ends = np.cumsum([0, *map(len, frames.values())]).tolist()
        data = {
            side: rows.select(range(start, end)) for side, start, end in zip(frames, ends[:-1], ends[1:], strict=True)
        }
        with only_first_token(model), tempfile.TemporaryDirectory() as scratch:
            trainer = Trainer(
                model=model,
                args=trainer_arguments(scratch, epochs, seed, "cpu"),
                train_dataset=data["train"],
                eval_dataset=data["validation"],
                data_collator=collate,
                compute_metrics=weighted_f1,
                callbacks=[Redraw()],
            )
            start = time.perf_counter()
            trainer.train()
            seconds = time.perf_counter() - start
            states.copy_(without_dropout)
            answers = {
                side: classes.int2str(trainer.predict(data[side]).predictions.argmax(-1).tolist()) for side in data
            }
    return answers, seconds
