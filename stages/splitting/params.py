"""The `split` section of params.yaml."""

from pydantic import Field

from stages.params import Section


class SplitParams(Section):
    """How documents are divided into train, validation and test."""

    test_size: float = Field(gt=0, lt=0.9)
    validation_size: float = Field(gt=0, lt=0.9)
    gold_in_test: bool
    near_duplicate: float = Field(gt=0, le=1)
    seed: int
