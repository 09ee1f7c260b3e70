"""The `annotate` section of params.yaml."""

import json
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from stages.params import Section


class ZeroShotParams(Section):
    """Similarity of documents and category descriptions."""

    model: str = Field(min_length=1)
    revision: str = Field(min_length=1)
    window_tokens: int = Field(ge=16)
    temperature: float = Field(gt=0)


class FileParams(Section):
    """Labels from the corpus's labels.csv; nothing to set."""


# Fields of a request that have a key of their own, or a meaning here.
TAKEN = {"model", "messages", "response_format", "max_completion_tokens", "n", "stream"}


class OpenAIParams(Section):
    """Which language model is asked, and how."""

    base_url: str = Field(pattern="^https?://")
    model: str = Field(min_length=1)
    votes: int = Field(ge=1)
    repairs: int = Field(ge=0)
    max_completion_tokens: int = Field(ge=1)
    example_tokens: int = Field(ge=1)
    temperature: float | None = Field(ge=0)
    reasoning_effort: str | None
    logprobs: bool
    extra: dict[str, Any]

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if not parts.hostname or port == 0:
            raise ValueError("no address of a server: http(s)://host[:port]/path")
        return value

    @field_validator("extra")
    @classmethod
    def _not_taken(cls, value: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(TAKEN & value.keys()):
            raise ValueError(f"{taken[0]} is set elsewhere or must stay as it is")
        try:
            json.dumps(value)
        except TypeError as fault:
            raise ValueError(f"must be what JSON can write: {fault}") from None
        return value


class AnnotateParams(Section):
    """Who gives the documents their categories."""

    provider: Literal["zero_shot", "openai", "file"]
    sample: int = Field(ge=0)
    max_tokens: int = Field(ge=1)
    max_failed: float = Field(ge=0, le=1)
    seed: int
    zero_shot: ZeroShotParams
    openai: OpenAIParams
    file: FileParams
