"""The metrics files of the stages as the report reads them: typed, and without what an older run did not write."""

from pydantic import BaseModel, Field


class Interval(BaseModel):
    """A 95 % interval."""

    low: float
    high: float


class Intervals(BaseModel):
    """Of the two scores that have one."""

    macro_f1: Interval
    accuracy: Interval


class Scores(BaseModel):
    """Of one classifier on some documents, 0 to 1."""

    macro_f1: float
    weighted_f1: float
    accuracy: float
    intervals: Intervals | None = None


class Paired(BaseModel):
    """The model minus a baseline on the same documents."""

    macro_f1_difference: float
    low: float
    high: float
    p_value: float


class Quality(BaseModel):
    """How far probabilities are from what happens; 0 is best."""

    ece: float
    brier: float
    log_loss: float


class Calibration(BaseModel):
    """Before and after the logits are divided by the temperature."""

    temperature: float
    before: Quality
    after: Quality


class Gold(BaseModel):
    """Against labels by people."""

    documents: int
    test: Scores
    baselines: dict[str, Scores] = {}
    labels: Scores | None = None


class Overrides(BaseModel):
    """The test set by the labels before and after overrides.csv, which `changed` so many of them."""

    changed: int
    before: Scores
    after: Scores


class ClassScores(BaseModel):
    """Of one class; `support` in documents."""

    precision: float
    recall: float
    f1: float
    support: int


class Suspects(BaseModel):
    """Documents of training and validation whose label the model doubts."""

    documents: int
    suspects: int
    share: float
    source: str = Field(alias="from")


class Scored(BaseModel):
    """Documents that are scored."""

    train: int
    test: int


class Evaluate(BaseModel):
    """metrics/evaluate.json."""

    documents: Scored
    test: Scores
    train: Scores | None = None
    train_test_gap: float | None = None
    baselines: dict[str, Scores] = {}
    paired: dict[str, Paired] = {}
    calibration: Calibration | None = None
    gold: Gold | None = None
    overrides: Overrides | None = None
    per_class: dict[str, ClassScores]
    label_suspects: Suspects | None = None


class CutOff(BaseModel):
    """Shares of the documents, and of their tokens, that the model does not read."""

    documents: float
    tokens: float


class Spread(BaseModel):
    """Macro F1 over the folds of a cross-validation."""

    mean: float
    std: float


class CrossValidation(BaseModel):
    """Over training and validation documents."""

    folds: int
    macro_f1: Spread


class Learned(BaseModel):
    """Documents to learn from, and to choose the epoch by."""

    train: int
    validation: int


class Train(BaseModel):
    """metrics/train.json."""

    documents: Learned
    best_epoch: float
    validation: dict[str, float]
    steps: int
    cut_off: CutOff | None = None
    parameters: dict[str, int] = {}
    cross_validation: CrossValidation | None = None


class Extract(BaseModel):
    """metrics/extract.json."""

    documents: int
    status: dict[str, int]
    pages: int
    pages_read: int
    languages: dict[str, int] = {}
    tokens: dict[str, float] = {}


class Annotate(BaseModel):
    """metrics/annotate.json."""

    documents: int
    annotated: int
    failed: int
    failed_by: dict[str, int] = {}
    compared_with_gold: int = 0
    accuracy: float | None = None
    kappa: float | None = None


class Corrections(BaseModel):
    """What overrides.csv did."""

    applied: int
    changed: int


class MergeClasses(BaseModel):
    """metrics/merge_classes.json."""

    documents: int
    classes: dict[str, int]
    categories: dict[str, int]
    mapped: dict[str, str] = {}
    rare: dict[str, dict[str, int] | int] = {}
    overrides: Corrections
    contradicting_duplicates: list[list[str]] = []


class Split(BaseModel):
    """metrics/split.json."""

    train: int
    validation: int
    test: int
    gold_in_test: int = 0
    exact_duplicates: int = 0
    near_duplicates: list[object] = []
    classes: dict[str, dict[str, int]]
