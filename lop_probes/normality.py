"""Normality: what the tests of Gaussian pre-activations share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nan

from lopgym.probes.matrices import CONSTANT

FEWEST, MOST = 3, 5000  # samples: with fewer no shape can be seen; Royston's approximation was made for at most so many


def median_over_units(statistic: Callable[[Tensor], Tensor], pre_activations: Mapping[str, Tensor]) -> dict[str, float]:
    """Return, for each layer, the median of a statistic over the units that vary; 0 if there is none.

    Args:
        statistic: maps what `standardised` returns, (U, n), to (U,).
        pre_activations: layer to (B, U).
    """
    return {name: _median(statistic, standardised(z)) for name, z in pre_activations.items()}


def standardised(z: Tensor) -> Tensor:
    """Return the units of (B, U) that vary as rows with mean 0 and variance 1 (over n - 1), (U', n), doubles.

    Of more than `MOST` samples it takes every second, third ...; of fewer than `FEWEST` no unit varies. Constant units,
    by the measure of `matrices.correlations`, are left out.

    >>> import torch
    >>> standardised(torch.tensor([[4.0, 7.0], [0.0, 7.0], [2.0, 7.0]]))
    tensor([[ 1., -1.,  0.]], dtype=torch.float64)
    """
    rows = z[:: -(-len(z) // MOST)].T.to(torch.float64, memory_format=torch.contiguous_format, copy=True)
    if rows.shape[1] < FEWEST:
        return rows[:0]
    n = rows.shape[1]
    magnitude: Tensor = torch.linalg.vector_norm(rows, dim=1) / n**0.5
    rows -= rows.mean(dim=1, keepdim=True)
    deviation: Tensor = torch.linalg.vector_norm(rows, dim=1) / (n - 1) ** 0.5
    varies = ~(deviation <= CONSTANT * magnitude)  # a NaN is no constant: it must come out
    return rows[varies].div_(deviation[varies, None])


def _median(statistic: Callable[[Tensor], Tensor], rows: Tensor) -> float:
    if len(rows) == 0:
        return 0.0
    return nan if rows.isnan().any() else statistic(rows).quantile(0.5).item()
