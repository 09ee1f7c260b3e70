"""The annotator `zero_shot`: the category whose description is most like the document, no labels needed.

Sentence embeddings of category descriptions and documents compared by cosine similarity, after
Veeranna et al., "Using Semantic Similarity for Multi-Label Zero-Shot Classification of Text
Documents" (ESANN 2016).
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl

from stages.annotators.params import AnnotateParams
from stages.backbone.resolve import locate
from stages.embeddings import Embedder
from stages.extraction.tokens import cut
from stages.runtime.device import resolve_device
from stages.runtime.errors import UserError
from stages.runtime.progress import progress


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
    described = [
        f"{name}: {description}" if description else name
        for name, description in categories.select("category", "description").iter_rows()
    ]
    settings = params.zero_shot
    if Path(settings.model).is_dir():
        raise UserError(
            f"annotate.zero_shot.model: {settings.model} is a folder, and DVC would not see it change: name the "
            "bundled model or one of the Hub"
        )
    folder = locate(settings.model, settings.revision, "annotate.zero_shot")
    embedder = Embedder(folder, settings.window_tokens, resolve_device(device))
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
