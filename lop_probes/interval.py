"""Interval: the mean of a few repeats, and where it lies with 95 % confidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of independent repeats with Student's interval, mean +- t sd / sqrt(n).

    t is the 97.5 % quantile of Student's law with n - 1 degrees of freedom, sd the unbiased estimate.

    Raises:
        ValueError: fewer than two repeats say nothing about their spread.

    >>> round(interval([1.0, 3.0]).high - 2.0, 3)  # t of one degree of freedom, as sd / sqrt(2) is 1
    12.706
    """
    if len(values) < 2:
        raise ValueError(f"an interval needs at least 2 repeats, not {len(values)}")
    sd, mean = torch.std_mean(torch.tensor(values, dtype=torch.float64))
    reach = _quantile(len(values) - 1) * sd.item() / math.sqrt(len(values))
    return Interval(mean.item(), mean.item() - reach, mean.item() + reach)


def _quantile(freedom: int) -> float:
    """Return t with P(|T| < t) = `CONFIDENCE`, by bisection on the angle atan(t / sqrt(freedom))."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < CONFIDENCE else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _within(angle: float, freedom: int) -> float:
    """Return P(|T| < sqrt(freedom) tan(angle)): Abramowitz and Stegun 1964, 26.7.3 and 26.7.4."""
    odd = freedom % 2
    term, total = math.cos(angle) if odd else 1.0, 0.0
    for k in range(2 + odd, freedom + 1, 2):
        total += term
        term *= (k - 1) / k * math.cos(angle) ** 2
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
