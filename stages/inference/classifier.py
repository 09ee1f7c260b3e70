"""A trained classifier: loading it and asking it for probabilities."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

import stages.neobert  # noqa: F401  (makes the Auto classes know it)
from stages.runtime.device import resolve_device
from stages.runtime.errors import UserError
from stages.runtime.progress import progress
from stages.windows import LongDocuments, average, batches, cut, pad

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

    def probabilities(self, texts: Sequence[str], batch_tokens: int) -> np.ndarray:
        """Return the calibrated probability of each class for each text (float64, texts x classes).

        That is the softmax of the logits divided by the temperature, which changes no answer.
        """
        logits = self.logits(texts, batch_tokens).astype(np.float64)
        found: np.ndarray = softmax(logits / self.temperature, axis=1)
        return found

    def logits(self, texts: Sequence[str], batch_tokens: int) -> np.ndarray:
        """Return the logit of each class for each text (float32, texts x classes).

        Batches hold windows of like length, up to `batch_tokens` tokens. The log says how many texts were cut.
        """
        config = self.model.config
        how: LongDocuments = getattr(config, "long_documents", "truncate")  # a classifier that was not trained here
        read = list(cut(texts, self.tokenizer, self.tokenizer.model_max_length, how))
        windows = [ids for text in read for ids in text.ids]
        document = torch.tensor([place for place, text in enumerate(read) for _ in text.ids], dtype=torch.long)
        logits = torch.zeros(len(windows), config.num_labels)
        order = batches([len(ids) for ids in windows], batch_tokens)
        with torch.inference_mode():
            for places in progress(order, total=len(order), what="classify"):
                batch = pad([windows[place] for place in places], self.tokenizer)
                answer = self.model(**{key: tensor.to(self.model.device) for key, tensor in batch.items()})
                logits[places] = answer.logits.float().cpu()
        if cut_off := sum(text.unread > 0 for text in read):
            log.info(
                "classify: %d of %d texts are longer than %d tokens: cut there",
                cut_off,
                len(texts),
                self.tokenizer.model_max_length,
            )
        found: np.ndarray = average(logits, document, len(texts)).numpy()
        return found


def load_classifier(folder: Path, device: str) -> Classifier:
    """Load the trained model in `folder` in float32, with its temperature (1 where it has none).

    Raises:
        UserError: if there is no model, or the file of its temperature is damaged.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no trained model there: `dvc repro` trains one, `dvc pull` fetches one")
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
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
