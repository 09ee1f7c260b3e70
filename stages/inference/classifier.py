"""A trained classifier: loading it and asking it about texts."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

import stages.neobert  # noqa: F401  (makes the Auto classes know it)
from stages.evaluation.calibration import scaled
from stages.inference.asking import CHUNK, ask
from stages.runtime.device import resolve_device
from stages.runtime.errors import UserError
from stages.runtime.progress import progress_bar

log = logging.getLogger(__name__)

# In a classifier's folder: what training found its logits have to be divided by.
TEMPERATURE = "temperature.json"


@dataclass(frozen=True)
class Classifier:
    """A model with its tokenizer; it reads texts as it did in training."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    labels: list[str]
    temperature: float = 1.0

    def calibrate(self, logits: np.ndarray) -> np.ndarray:
        """Return the calibrated probability of each class (float64, texts x classes) that logits of that form mean."""
        return scaled(logits, self.temperature)

    def logits(self, texts: Sequence[str], batch_tokens: int) -> np.ndarray:
        """Return the logit of each class for each text (float32, texts x classes).

        Batches hold windows of like length, up to `batch_tokens` tokens. The log says how many texts were cut.
        """
        chunks = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
        with progress_bar(len(texts), "classify") as bar:
            found = list(self.stream(chunks, batch_tokens, bar.update))
        return np.concatenate([np.empty((0, len(self.labels)), np.float32), *found])

    def stream(
        self, chunks: Iterable[Sequence[str]], batch_tokens: int, advance: Callable[[int], object]
    ) -> Iterator[np.ndarray]:
        """Yield the logits of each chunk of texts (float32, texts x classes) as `logits` returns them.

        One chunk is drawn while the one before is answered; no more are in memory.

        Args:
            advance: told how many texts have been answered since it was told last.
        """
        texts = cut_off = 0
        for answered in ask(self.model, self.tokenizer, chunks, batch_tokens, advance):
            texts += len(answered.logits)
            cut_off += answered.cut_off
            yield answered.logits.numpy()
        if cut_off:
            limit = self.tokenizer.model_max_length
            log.info("classify: %d of %d texts are longer than %d tokens: cut there", cut_off, texts, limit)


def load_classifier(folder: Path, device: str) -> Classifier:
    """Load the trained model in `folder` in float32, with its temperature (1 where it has none).

    Raises:
        UserError: if there is no model, or one of its files is missing or damaged.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no trained model there: `dvc repro` trains one, `dvc pull` fetches one")
    try:
        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, SafetensorError) as fault:
        reason = " ".join(str(fault).split())
        raise UserError(f"{folder}: cannot be loaded ({reason}): `dvc checkout {folder}` brings it back") from None
    labels = [model.config.id2label[number] for number in range(model.config.num_labels)]
    return Classifier(model.to(resolve_device(device)).eval(), tokenizer, labels, read_temperature(folder))


def read_temperature(folder: Path) -> float:
    """Return what the classifier in `folder` has its logits divided by; 1 where the file is missing.

    Raises:
        UserError: if the file holds no number above 0.
    """
    file = folder / TEMPERATURE
    if not file.is_file():
        return 1.0
    try:
        temperature = float(json.loads(file.read_text(encoding="utf-8"))["temperature"])
    except (ValueError, KeyError, TypeError):
        temperature = 0.0
    if not 0 < temperature < float("inf"):
        raise UserError(f"{file}: holds no temperature above 0: `dvc checkout {folder}` brings it back")
    return temperature
