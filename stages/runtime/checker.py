"""Holds the whole params.yaml against every schema, so that a typo shows before work is paid for."""

from stages.annotators.params import AnnotateParams
from stages.backbone.params import ModelParams
from stages.classes.params import MergeClassesParams
from stages.evaluation.params import EvaluateParams
from stages.extraction.params import ExtractParams
from stages.params import Params, Section, validate
from stages.runtime.settings import RuntimeSettings
from stages.splitting.params import SplitParams
from stages.training.params import TrainParams


class Experiment(Section):
    """The whole of params.yaml."""

    corpus: str
    extract: ExtractParams
    annotate: AnnotateParams
    merge_classes: MergeClassesParams
    split: SplitParams
    model: ModelParams
    train: TrainParams
    evaluate: EvaluateParams
    runtime: RuntimeSettings


def check(params: Params) -> Experiment:
    """Validate every section of `params` (the parsed params.yaml) and return them typed.

    Raises:
        UserError: on a missing or unknown key, a wrong type or a value out of range, naming each.
    """
    return validate(params, Experiment, at="")
