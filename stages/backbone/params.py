"""The `model` section of params.yaml."""

from typing import Literal

from pydantic import Field

from stages.params import Section


class ModelParams(Section):
    """Which encoder is fine-tuned, and how much of a document it reads."""

    name: str = Field(min_length=1)
    revision: str = Field(min_length=1)
    pooling: Literal["auto", "own", "mean"]
    max_length: int = Field(ge=8)
    long_documents: Literal["truncate", "head_tail", "windows"]
