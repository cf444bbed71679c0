"""Logistic regression as numbers: 30 weights and an intercept, over features at a common scale."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

FEATURES = 30
CLASSES = np.array([0, 1])  # malignant, benign: as scikit-learn's data set counts them


@dataclass(frozen=True)
class Scale:
    """Mean and spread of every feature."""

    mean: np.ndarray
    spread: np.ndarray

    def of(self, x: np.ndarray) -> np.ndarray:
        return (x - self.mean) / self.spread


@dataclass(frozen=True)
class Moments:
    """What the common scale is made from: a count, sums and sums of squares; no row."""

    count: float
    total: np.ndarray
    squares: np.ndarray

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.count + other.count, self.total + other.total, self.squares + other.squares
        )

    def scale(self) -> Scale:
        mean = self.total / self.count
        variance = np.maximum(self.squares / self.count - mean**2, 0.0)
        return Scale(mean, np.where(variance > 0, np.sqrt(variance), 1.0))


def moments(x: np.ndarray) -> Moments:
    return Moments(float(len(x)), x.sum(axis=0), (x**2).sum(axis=0))


def zeros() -> list[np.ndarray]:
    return [np.zeros(FEATURES), np.zeros(1)]


def improve(
    weights: list[np.ndarray], x: np.ndarray, y: np.ndarray, steps: int, strength: float
) -> list[np.ndarray]:
    """A few steps of L-BFGS from `weights`; `strength` is scikit-learn's C. Deterministic.

    Few, on purpose: a local fit that has converged forgets where it began, and the average of
    such fits is the same in every round.
    """
    fit = LogisticRegression(C=strength, max_iter=steps, warm_start=True)
    fit.classes_ = CLASSES
    fit.coef_, fit.intercept_ = weights[0][None, :].copy(), weights[1].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit.fit(x, y)
    return [fit.coef_[0], fit.intercept_]


def alone(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """The best a site can do by itself: scaled by its own data, fitted to the end.

    The weights are for raw features, so that anybody can try them on other data.
    """
    own = moments(x).scale()
    weights = improve(zeros(), own.of(x), y, steps=1000, strength=1.0)
    raw = weights[0] / own.spread
    return [raw, weights[1] - raw @ own.mean]


def accuracy(weights: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> float:
    return float(((x @ weights[0] + weights[1][0] > 0) == (y == 1)).mean())


def loss(weights: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> float:
    """Mean negative log likelihood."""
    margin = (x @ weights[0] + weights[1][0]) * np.where(y == 1, 1.0, -1.0)
    return float(np.logaddexp(0.0, -margin).mean())
