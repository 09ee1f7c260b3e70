"""The `extract` section of params.yaml."""

from typing import Literal

from pydantic import Field

from stages.params import Section


class ExtractParams(Section):
    """How documents are read."""

    engine: Literal["layout", "fast"]
    ocr: bool
    max_tokens: int = Field(ge=1)
    drop_references: bool
    metadata_columns: list[str]
    timeout_s: float = Field(gt=0)
    memory_mb: int = Field(ge=512)
