"""A trained classifier: loading it and asking it for probabilities."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

import stages.neobert  # noqa: F401  (makes the Auto classes know it)
from stages.runtime.device import resolve_device
from stages.runtime.errors import UserError
from stages.runtime.progress import progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Classifier:
    """A model with its tokenizer, which cuts texts at the length the model was trained on."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    labels: list[str]

    def probabilities(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        """Return the probability of each class for each text (float32, texts x classes).

        Batches hold texts of like length, so that little of them is padding. The log says how many were cut.
        """
        cut = 0
        result = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        with torch.inference_mode():
            for places in progress(batches, total=len(batches), what="classify"):
                batch = self.tokenizer(
                    [texts[place] for place in places], truncation=True, padding=True, return_tensors="pt"
                )
                cut += sum(bool(encoding.overflowing) for encoding in batch.encodings)
                logits = self.model(**batch.to(self.model.device)).logits
                result[places] = logits.float().softmax(dim=-1).cpu().numpy()
        if cut:
            log.info(
                "classify: %d of %d texts are longer than %d tokens: cut there",
                cut,
                len(texts),
                self.tokenizer.model_max_length,
            )
        return result


def load_classifier(folder: Path, device: str) -> Classifier:
    """Load the trained model in `folder` in float32.

    Raises:
        UserError: if there is none.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no trained model there: `dvc repro` trains one, `dvc pull` fetches one")
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    labels = [model.config.id2label[number] for number in range(model.config.num_labels)]
    return Classifier(model.to(resolve_device(device)).eval(), tokenizer, labels)
