"""Logistic regression on documents of several windows, whose logits are combined as the model's are."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import Tensor, nn

from stages.windows import log_mean_exp


class WindowsRegression(ClassifierMixin, BaseEstimator):
    """scikit-learn's LogisticRegression with balanced class weights, for documents that are [windows, width] each.

    The same loss, C times the weighted cross-entropy plus half the squared weights, of the documents' `log_mean_exp`.
    """

    def __init__(self, C: float = 1.0, fit_intercept: bool = True) -> None:
        """Take the inverse strength of regularisation."""
        self.C = C
        self.fit_intercept = fit_intercept

    def fit(self, documents: Sequence[np.ndarray] | np.ndarray, labels: Sequence[int]) -> Self:
        """Fit `coef_` [classes, width] and `intercept_` [classes] by L-BFGS, from zeros."""
        self.classes_, places = np.unique(labels, return_inverse=True)
        true = torch.from_numpy(places)
        balance = len(places) / (len(self.classes_) * torch.bincount(true).float())
        coefficients = torch.zeros(len(self.classes_), documents[0].shape[1], requires_grad=True)
        intercepts = torch.zeros(len(self.classes_), requires_grad=self.fit_intercept)
        windows, document = _together(documents)
        learned = [coefficients, intercepts] if self.fit_intercept else [coefficients]
        optimizer = torch.optim.LBFGS(learned, max_iter=1000, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            logits = log_mean_exp(windows @ coefficients.T + intercepts, document, len(documents))
            errors = nn.functional.cross_entropy(logits, true, reduction="none") * balance[true]
            total = self.C * errors.sum() + coefficients.pow(2).sum() / 2
            total.backward()
            return total

        optimizer.step(loss)
        self.coef_, self.intercept_ = coefficients.detach().numpy(), intercepts.detach().numpy()
        return self

    def predict_proba(self, documents: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Return the probability of each class: [documents, classes]."""
        windows, document = _together(documents)
        logits = windows @ torch.from_numpy(self.coef_.T) + torch.from_numpy(self.intercept_)
        found: np.ndarray = log_mean_exp(logits, document, len(documents)).double().softmax(dim=1).numpy()
        return found

    def predict(self, documents: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Return the likeliest class of each document."""
        likeliest: np.ndarray = self.classes_[self.predict_proba(documents).argmax(axis=1)]
        return likeliest


def _together(documents: Sequence[np.ndarray] | np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the windows of all documents, and the place of the document that each belongs to."""
    counts = torch.tensor([len(windows) for windows in documents])
    return torch.from_numpy(np.concatenate(list(documents))), torch.arange(len(documents)).repeat_interleave(counts)
