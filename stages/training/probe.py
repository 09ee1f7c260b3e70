"""The head's first weights: those of a logistic regression on what the encoder says before it learns.

Fine-tuning from a random head first bends the encoder towards nonsense, and needs epochs to find the classes at
all; from a fitted one it starts as good as frozen embeddings are (Kumar et al. 2022, "Fine-Tuning can Distort
Pretrained Features and Underperform Out-of-Distribution", https://arxiv.org/abs/2202.10054).
"""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from datasets import Dataset
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from torch import Tensor, nn
from transformers import PreTrainedModel

from stages.runtime.errors import UserError
from stages.runtime.progress import progress
from stages.training.data import Collator
from stages.training.trainer import selection
from stages.training.windows_regression import WindowsRegression
from stages.windows import batches

log = logging.getLogger(__name__)

# Inverse strengths of regularisation (C), at features of length 1.
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
FOLDS = 5


def last_linear(model: PreTrainedModel) -> nn.Linear:
    """Return the layer that gives the logits: the last linear one of the head with a row for each class."""
    wide = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and module.out_features == model.config.num_labels
    ]
    return wide[-1]


def features(model: PreTrainedModel, rows: Dataset, collator: Collator, bf16: bool, batch_tokens: int) -> list[Tensor]:
    """Return what the head's last layer reads of each document: [windows, width], float32.

    Raises:
        UserError: if that is infinite or not a number, or no vector.
    """
    found: list[Tensor] = []
    layer = last_linear(model)
    hook = layer.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].float().cpu()))
    result: dict[int, Tensor] = {}
    order = batches(rows["length"][:], batch_tokens)
    model.eval()
    try:
        with torch.inference_mode(), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            for places in progress(order, total=len(order), what="probe"):
                batch = collator([rows[place] for place in places])
                document = batch.pop("document")
                batch.pop("labels")
                model(**{key: tensor.to(model.device) for key, tensor in batch.items()})
                if found[-1].ndim != 2:
                    raise UserError(
                        f"train.head_start: the head of a {model.config.model_type} reads every token, not one vector "
                        "a text, so that no regression can start it: set random"
                    )
                windows = torch.bincount(document, minlength=len(places)).tolist()
                result |= zip(places, found.pop().split(windows), strict=True)
    finally:
        hook.remove()
    if broken := sum(not part.isfinite().all() for part in result.values()):
        raise UserError(
            f"train: what the encoder says of {broken} of {len(rows)} documents is infinite or no number: its weights "
            "may be damaged; else set train.precision: fp32"
        )
    return [result[place] for place in range(len(rows))]


def fitted_head(model: PreTrainedModel, features: Sequence[Tensor], labels: Sequence[int]) -> dict[str, Tensor]:
    """Fit a logistic regression, classes weighted alike, and return it as weights of the head's last layer.

    How strongly it is regularised is chosen on the same documents, by the macro F1 of cross-validation and then the
    lower loss: noisy labels want much, clean ones little.

    Args:
        features: of each document, [windows, width].
        labels: class numbers; a class without any gets a row that is least likely.

    Returns:
        The layer's parameters by their names in `model`.
    """
    layer = last_linear(model)
    name = next(name for name, module in model.named_modules() if module is layer)
    windows = torch.cat(list(features))
    scale = float(windows.pow(2).sum(dim=1).mean().sqrt())
    known, counts = np.unique(labels, return_counts=True)
    regression: LogisticRegression | WindowsRegression
    if len(windows) == len(features):
        given: list[np.ndarray] | np.ndarray = windows.numpy() / scale
        regression = LogisticRegression(class_weight="balanced", max_iter=5000, fit_intercept=layer.bias is not None)
    else:
        given = [document.numpy() / scale for document in features]
        regression = WindowsRegression(fit_intercept=layer.bias is not None)
    if min(counts) > 1:  # else nothing of that class could be held out
        search = GridSearchCV(
            regression,
            {"C": STRENGTHS},
            scoring=["f1_macro", "neg_log_loss"],
            refit=_best,
            cv=int(min(FOLDS, *counts)),
        )
        regression = search.fit(given, labels).best_estimator_
        log.info("head: logistic regression with C %g", regression.C)
    else:
        regression.fit(given, labels)
    coefficients, intercepts = regression.coef_ / scale, regression.intercept_
    if len(coefficients) == 1:  # of two classes, one row says both
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weight = torch.zeros(layer.weight.shape)
    weight[known] = torch.from_numpy(coefficients).float()
    if layer.bias is None:
        return {f"{name}.weight": weight}
    lowest = float((windows.numpy() @ coefficients.T + intercepts).min())
    bias = torch.full(layer.bias.shape, lowest - 1)
    bias[known] = torch.from_numpy(intercepts).float()
    return {f"{name}.weight": weight, f"{name}.bias": bias}


def _best(results: dict[str, np.ndarray]) -> int:
    found = zip(results["mean_test_f1_macro"], results["mean_test_neg_log_loss"], strict=True)
    return int(np.argmax([selection(round(score, 4), -loss) for score, loss in found]))
