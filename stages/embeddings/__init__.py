"""Sentence embeddings of texts of any length, kept in a store so that each is computed once."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch.nn.functional import normalize

from stages.runtime.errors import UserError
from stages.store import Store, made_by

PACKAGES = ("sentence-transformers", "tokenizers", "torch", "transformers")
# Windows of one text that go through the model at once.
BATCH = 32


class Embedder:
    """Unit vectors of texts of any length, each computed alone so that it depends on nothing else."""

    def __init__(self, folder: Path, window_tokens: int, device: str) -> None:
        """Load a sentence-transformers model.

        Args:
            folder: where its files lie.
            window_tokens: longer texts are read in windows of this length (at most what the model reads).
            device: where it runs (`cpu`, `cuda`, `mps`).

        Raises:
            UserError: if it is no such model, or none that this can cut texts into windows for.
        """
        try:
            self.model = SentenceTransformer(str(folder), device=device, model_kwargs={"use_safetensors": True})
        except (OSError, ValueError, KeyError) as fault:
            raise UserError(f"{folder.name}: no sentence-transformers model: {' '.join(str(fault).split())}") from None
        if None in (self.model.tokenizer.cls_token_id, self.model.tokenizer.sep_token_id):
            raise UserError(f"{folder.name}: its tokenizer has no [CLS] and [SEP]: choose a model of BERT's kind")
        self.model.eval()
        self.store = Store("embeddings")
        self.window = min(window_tokens, self.model.max_seq_length or window_tokens) - 2
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        self.made_by = {
            **made_by((Path(__file__),), PACKAGES),
            "device": self.model.device.type,
            "files": {file.relative_to(folder).as_posix(): _digest(file) for file in files},
            "window": self.window,
        }

    def embed(self, text: str) -> np.ndarray:
        """Return the unit vector (float32, dimensions of the model) of `text`: the mean of its windows' ones."""
        key = self.store.key(**self.made_by, text=hashlib.sha256(text.encode()).hexdigest())
        if (stored := self.store.get(key)) is not None:
            return np.frombuffer(stored, dtype=np.float32)
        vector = self._compute(text)
        self.store.put(key, vector.tobytes())
        return vector

    def _compute(self, text: str) -> np.ndarray:
        tokenizer = self.model.tokenizer
        ids = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        windows = [ids[start : start + self.window] for start in range(0, len(ids), self.window)] or [[]]
        vectors = []
        with torch.inference_mode():
            for start in range(0, len(windows), BATCH):
                batch = [
                    {"input_ids": [tokenizer.cls_token_id, *window, tokenizer.sep_token_id]}
                    for window in windows[start : start + BATCH]
                ]
                features = tokenizer.pad(batch, return_tensors="pt").to(self.model.device)
                vectors.append(self.model(dict(features))["sentence_embedding"].float().cpu())
            # Windows weigh by their length, so that a last one of three words does not count as a whole one.
            lengths = torch.tensor([float(max(1, len(window))) for window in windows])
            mean = (normalize(torch.cat(vectors), dim=1) * lengths[:, None]).sum(dim=0)
            unit: np.ndarray = normalize(mean, dim=0).numpy()
            return unit


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
