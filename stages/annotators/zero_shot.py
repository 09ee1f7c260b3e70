"""The annotator `zero_shot`: the category whose description is most like the document, no labels needed.

Sentence embeddings of category descriptions and documents compared by cosine similarity, after
Veeranna et al., "Using Semantic Similarity for Multi-Label Zero-Shot Classification of Text
Documents" (ESANN 2016).
"""

from collections.abc import Iterable

import numpy as np
import polars as pl

from stages.annotators.params import ZeroShotParams
from stages.backbone.resolve import locate
from stages.embeddings import Embedder
from stages.runtime.device import resolve_device
from stages.runtime.errors import UserError
from stages.runtime.progress import progress


def annotate(documents: pl.DataFrame, categories: pl.DataFrame, params: ZeroShotParams, device: str) -> pl.DataFrame:
    """Give each document the category its text is most similar to.

    A document longer than `window_tokens` is cut into windows; the mean of their unit vectors stands for
    it. The confidence is the softmax over the categories of cosine similarity / `temperature`.

    Args:
        documents: `document_id`, `text`.
        categories: `category`, `description` (may be empty: the name alone then describes it).

    Returns:
        `document_id`, `category`, `confidence`, `status` (always `ok`), `error`.

    Raises:
        UserError: with fewer than two categories, or if the model cannot be had.
    """
    if len(categories) < 2:
        raise UserError("categories.csv: annotate.provider zero_shot needs at least two categories, one a row")
    described = [
        f"{name}: {description}" if description else name
        for name, description in categories.select("category", "description").iter_rows()
    ]
    embedder = Embedder(locate(params.model, "main"), params.window_tokens, resolve_device(device))
    targets = np.stack([embedder.embed(text) for text in described])
    texts = documents["text"]
    vectors = np.stack([embedder.embed(text) for text in progress(texts, total=len(texts), what="annotate")])
    return choose(documents["document_id"], vectors @ targets.T, categories["category"].to_list(), params.temperature)


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
