"""The `train` section of params.yaml."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from stages.params import Section


class TrainParams(Section):
    """How the encoder is fine-tuned."""

    lr: float = Field(gt=0)
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    gradient_accumulation: int = Field(ge=1)
    batch_tokens: int = Field(ge=1)
    trainable_layers: int = Field(ge=-1)
    head_start: Literal["probe", "random"]
    class_weights: Literal["balanced", "none", "sqrt"]
    label_smoothing: float = Field(ge=0, lt=1)
    warmup: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    attention_dropout: float = Field(ge=0, lt=1)
    precision: Literal["auto", "bf16", "fp32"]
    best_by: Literal["loss", "macro_f1", "weighted_f1"]
    folds: int = Field(ge=0)
    learning_curve: bool
    seed: int

    @field_validator("folds")
    @classmethod
    def _not_one(cls, value: int) -> int:
        if value == 1:
            raise ValueError("0 (no cross-validation) or 2 and more")
        return value

    @field_validator("learning_curve")
    @classmethod
    def _with_folds_alone(cls, value: bool, info: ValidationInfo) -> bool:
        if value and not info.data.get("folds", 2):
            raise ValueError("false unless train.folds is 2 or more: the curve is cross-validated")
        return value
