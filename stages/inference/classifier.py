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
from stages.windows import LongDocuments, average, batches, cut, pad

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Classifier:
    """A model with its tokenizer; it reads texts as it did in training."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    labels: list[str]

    def probabilities(self, texts: Sequence[str], batch_tokens: int) -> np.ndarray:
        """Return the probability of each class for each text (float32, texts x classes).

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
        found: np.ndarray = average(logits, document, len(texts)).softmax(dim=-1).numpy()
        return found


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
