"""The `split` section of params.yaml."""

from pydantic import Field, ValidationInfo, field_validator

from stages.params import Section


class SplitParams(Section):
    """How documents are divided into train, validation and test."""

    test_size: float = Field(gt=0, lt=0.9)
    validation_size: float = Field(gt=0, lt=0.9)
    gold_in_test: bool
    near_duplicate: float = Field(gt=0, le=1)
    seed: int

    @field_validator("validation_size")
    @classmethod
    def _leave_some_to_train_on(cls, value: float, info: ValidationInfo) -> float:
        if value + info.data.get("test_size", 0) >= 1:
            raise ValueError("below 1 together with test_size")
        return value
