"""The annotator `zero_shot`: the category whose description is most like the document, no labels needed.

Sentence embeddings of category descriptions and documents compared by cosine similarity, after
Veeranna et al., "Using Semantic Similarity for Multi-Label Zero-Shot Classification of Text
Documents" (ESANN 2016).
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from sentence_transformers import SentenceTransformer
from torch.nn.functional import normalize

from stages.annotators.params import AnnotateParams
from stages.backbone.resolve import locate
from stages.extraction.tokens import cut
from stages.runtime.device import resolve_device
from stages.runtime.errors import UserError
from stages.runtime.progress import progress
from stages.store import Store

# Windows of one document that go through the model at once.
BATCH = 32


def annotate(
    texts: Iterable[tuple[str, str]], total: int, categories: pl.DataFrame, params: AnnotateParams, device: str
) -> pl.DataFrame:
    """Give each document the category its text is most similar to.

    A document longer than `window_tokens` is cut into windows; the mean of their unit vectors stands for
    it. The confidence is the softmax over the categories of cosine similarity / `temperature`.

    Args:
        texts: ids and texts of documents, `total` in number, of which the first `max_tokens` are read.
        categories: `category`, `description` (may be empty: the name alone then describes it).

    Returns:
        `document_id`, `category`, `confidence`, `status` (always `ok`), `error`.

    Raises:
        UserError: with fewer than two categories, or if the model cannot be had.
    """
    if len(categories) < 2:
        raise UserError("categories.csv: annotate.provider zero_shot needs at least two categories, one a row")
    settings = params.zero_shot
    folder = locate(settings.model, "main")
    model = SentenceTransformer(str(folder), device=resolve_device(device), model_kwargs={"use_safetensors": True})
    model.eval()
    described = [
        f"{name}: {description}" if description else name
        for name, description in categories.select("category", "description").iter_rows()
    ]
    embedder = _Embedder(model, folder, settings.window_tokens)
    targets = np.stack([embedder.embed(text) for text in described])
    ids, vectors = [], []
    for document_id, text in progress(texts, total=total, what="annotate"):
        ids.append(document_id)
        vectors.append(embedder.embed(cut(text, params.max_tokens)[0]))
    similarity = np.stack(vectors) @ targets.T
    return choose(ids, similarity, categories["category"].to_list(), settings.temperature)


def choose(ids: Iterable[str], similarity: np.ndarray, names: list[str], temperature: float) -> pl.DataFrame:
    """Turn similarities (documents x categories, cosine) into the annotators' table."""
    scaled = similarity / temperature
    exponent = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    share = exponent / exponent.sum(axis=1, keepdims=True)
    best = share.argmax(axis=1)
    return pl.DataFrame(
        {
            "document_id": list(ids),
            "category": [names[place] for place in best],
            "confidence": share.max(axis=1).astype(np.float64).round(4),
            "status": ["ok"] * len(best),
            "error": pl.Series([None] * len(best), dtype=pl.String),
        }
    )


class _Embedder:
    """Unit vectors of texts of any length, each computed alone so that it depends on nothing else."""

    def __init__(self, model: SentenceTransformer, folder: Path, window_tokens: int) -> None:
        self.model = model
        self.store = Store("embeddings")
        self.window = min(window_tokens, model.max_seq_length or window_tokens) - 2
        with (folder / "model.safetensors").open("rb") as weights:
            self.weights = hashlib.file_digest(weights, "sha256").hexdigest()

    def embed(self, text: str) -> np.ndarray:
        """Return the unit vector (float32, dimensions of the model) of `text`."""
        key = self.store.key(weights=self.weights, window=self.window, text=hashlib.sha256(text.encode()).hexdigest())
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
