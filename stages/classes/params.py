"""The `merge_classes` section of params.yaml."""

from typing import Literal

from pydantic import Field

from stages.params import Section


class MergeClassesParams(Section):
    """Which classes are large enough to be learned, and which names are close enough to be one."""

    min_count: int = Field(ge=1)
    rare: Literal["other", "drop"]
    similarity: float = Field(gt=0, le=1)
