"""Sentence embeddings for the baseline, by the bundled model, whatever model is trained."""

from collections.abc import Sequence

import numpy as np

from stages.backbone.bundled import verified_bundled_folder
from stages.embeddings import Embedder
from stages.extraction.tokens import cut
from stages.runtime.progress import progress

# All that the bundled model was trained to read at a time.
WINDOW_TOKENS = 256


def embed(texts: Sequence[str], max_tokens: int, device: str) -> np.ndarray:
    """Return unit vectors [texts, 384] (float32) of all-MiniLM-L6-v2, kept in the store.

    A long text is read in windows, whose mean stands for it (Reimers & Gurevych 2019, "Sentence-BERT",
    https://arxiv.org/abs/1908.10084, for the model). The zero-shot annotator has the same vectors, where it reads as
    far: those are found there.

    Args:
        max_tokens: of each text so many are read.
        device: where the model runs (`cpu`, `cuda`, `mps`).
    """
    embedder = Embedder(verified_bundled_folder(), WINDOW_TOKENS, device)
    return np.stack(
        [embedder.embed(cut(text, max_tokens)[0]) for text in progress(texts, total=len(texts), what="embed")]
    )
