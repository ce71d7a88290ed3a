"""Averages over samples, some rows at a time: what large temporaries cost is memory, not arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

CHUNK = 2**16  # numbers: they stay in a core's cache, and their memory is used again instead of mapped anew


def some_rows(units: int) -> int:
    """Return how many rows of (B, U) to take at a time."""
    return max(1, CHUNK // max(1, units))


def mean_over_samples(total: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """Return the mean over samples of a statistic of each unit, (U,), doubles.

    Args:
        total: maps some rows of every value, (b, U) each, to the sums of its statistic over these rows, (U,).
        values: (B, U) each.

    >>> mean_over_samples(lambda h: (h > 0).count_nonzero(dim=0), torch.tensor([[1.0, 0.0], [2.0, 3.0]]))
    tensor([1.0000, 0.5000], dtype=torch.float64)
    """
    samples, units = values[0].shape
    rows = some_rows(units)
    sums = torch.zeros(units, dtype=torch.float64, device=values[0].device)
    for first in range(0, samples, rows):
        sums += total(*(value[first : first + rows] for value in values))
    return sums / samples


def means(rows: Tensor) -> Tensor:
    """Return E[h_u] of (B, U), (U,), doubles.

    >>> means(torch.tensor([[1.0, 0.0], [-2.0, 3.0]]))
    tensor([-0.5000,  1.5000], dtype=torch.float64)
    """
    return mean_over_samples(lambda some: some.sum(dim=0, dtype=torch.float64), rows)


def mean_magnitudes(rows: Tensor) -> Tensor:
    """Return E|h_u| of (B, U), (U,), doubles.

    >>> mean_magnitudes(torch.tensor([[1.0, 0.0], [-2.0, 3.0]]))
    tensor([1.5000, 1.5000], dtype=torch.float64)
    """
    return mean_over_samples(lambda some: some.abs().sum(dim=0, dtype=torch.float64), rows)
