"""A trained classifier: loading it and asking it for probabilities."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

import stages.neobert  # noqa: F401  (makes the Auto classes know it)
from stages.inference.asking import CHUNK, ask
from stages.runtime.device import resolve_device
from stages.runtime.errors import UserError
from stages.runtime.progress import progress_bar

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
        chunks = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
        with progress_bar(len(texts), "classify") as bar:
            found = list(self.stream(chunks, batch_tokens, bar.update))
        return np.concatenate([np.empty((0, len(self.labels)), np.float32), *found])

    def stream(
        self, chunks: Iterable[Sequence[str]], batch_tokens: int, advance: Callable[[int], object]
    ) -> Iterator[np.ndarray]:
        """Yield the probabilities of each chunk of texts (float32, texts x classes) as `probabilities` returns them.

        One chunk is drawn while the one before is answered; no more are in memory.

        Args:
            advance: told how many texts have been answered since it was told last.
        """
        texts = cut_off = 0
        for answered in ask(self.model, self.tokenizer, chunks, batch_tokens, advance):
            texts += len(answered.logits)
            cut_off += answered.cut_off
            yield answered.logits.softmax(dim=-1).numpy()
        if cut_off:
            limit = self.tokenizer.model_max_length
            log.info("classify: %d of %d texts are longer than %d tokens: cut there", cut_off, texts, limit)


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
