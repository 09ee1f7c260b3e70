"""The `evaluate` section of params.yaml."""

from pydantic import Field

from stages.params import Section


class TfidfParams(Section):
    """The TF-IDF baseline."""

    ngrams: int = Field(ge=1, le=3)
    C: float = Field(gt=0)


class EmbeddingsParams(Section):
    """The baseline of frozen sentence embeddings."""

    max_tokens: int = Field(ge=1)
    C: float = Field(gt=0)


class EvaluateParams(Section):
    """How the model is measured."""

    batch_tokens: int = Field(ge=1)
    resamples: int = Field(ge=100)
    seed: int
    tfidf: TfidfParams
    embeddings: EmbeddingsParams
