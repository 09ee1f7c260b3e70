"""The `merge_classes` section of params.yaml."""

from typing import Literal

from pydantic import Field

from stages.params import Section


class MergeClassesParams(Section):
    """Which classes are large enough to be learned."""

    min_count: int = Field(ge=1)
    rare: Literal["other", "drop"]
