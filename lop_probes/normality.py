"""Normality: what the tests of Gaussian pre-activations share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lopgym.probes.matrices import CONSTANT
from lopgym.probes.rising import rising

UNITS = 64  # that are sorted at a time: their memory is used again
FEWEST, MOST = 3, 5000  # samples: with fewer no shape can be seen; Royston's approximation was made for at most so many


def order_statistics(z: Tensor) -> Tensor:
    """Return the units of (B, U) that vary as rows with mean 0 and variance 1 (over n - 1) that rise, (U', n), doubles.

    Of more than `MOST` samples it takes every second, third ...; of fewer than `FEWEST` no unit varies. Constant units,
    by the measure of `matrices.covariances`, are left out. A unit with a NaN does not count as constant.

    >>> import torch
    >>> order_statistics(torch.tensor([[4.0, 7.0], [0.0, 7.0], [2.0, 7.0]]))
    tensor([[-1.,  0.,  1.]], dtype=torch.float64)
    """
    some = z[:: -(-len(z) // MOST)]
    n = len(some)
    rows = torch.empty(some.shape[1], n, dtype=torch.float64, device=z.device)
    for first in range(0, len(rows), UNITS):  # sorted as they come: doubles take twice as long
        rows[first : first + UNITS] = rising(some[:, first : first + UNITS].T)
    if n < FEWEST:
        return rows[:0]
    magnitude: Tensor = torch.linalg.vector_norm(rows, dim=1) / n**0.5
    rows -= rows.mean(dim=1, keepdim=True)
    deviation: Tensor = torch.linalg.vector_norm(rows, dim=1) / (n - 1) ** 0.5
    varies = ~(deviation <= CONSTANT * magnitude)
    if not varies.all():
        rows, deviation = rows[varies], deviation[varies]
    return rows.div_(deviation[:, None])


def median_over_units(statistic: Callable[[Tensor], Tensor], ordered: Mapping[str, Tensor]) -> dict[str, float]:
    """Return, for each layer, the median of a statistic over the units that vary; 0 if there is none.

    Args:
        statistic: maps what `order_statistics` returns, (U', n), to (U',).
        ordered: layer to (U', n).
    """
    return {name: statistic(rows).quantile(0.5).item() if len(rows) else 0.0 for name, rows in ordered.items()}
