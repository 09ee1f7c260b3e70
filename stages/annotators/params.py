"""The `annotate` section of params.yaml."""

from typing import Literal

from pydantic import Field

from stages.params import Section


class ZeroShotParams(Section):
    """Similarity of documents and category descriptions."""

    model: str = Field(min_length=1)
    window_tokens: int = Field(ge=16)
    temperature: float = Field(gt=0)


class FileParams(Section):
    """Labels from the corpus's labels.csv; nothing to set."""


class AnnotateParams(Section):
    """Who gives the documents their categories."""

    provider: Literal["zero_shot", "file"]
    sample: int = Field(ge=0)
    seed: int
    zero_shot: ZeroShotParams
    file: FileParams
