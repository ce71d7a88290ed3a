"""Shapiro and Wilk's test: how little pre-activations look Gaussian, by their order statistics."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from lopgym.probes import register
from lopgym.probes.normality import median_over_units

# Royston 1995: what the two outermost coefficients are to be corrected by, polynomials in n^(-1/2), constant first.
OUTERMOST = (0.0, 0.221157, -0.147981, -2.071190, 4.434685, -2.706056)
SECOND = (0.0, 0.042981, -0.293762, -1.752461, 5.682633, -3.582633)


@register(
    "shapiro",
    bounds=(0, 1),
    cite="Royston 1995 (Appl. Statist. 44), algorithm AS R94; arXiv:2510.00304, the authors' metrics.py",
    invariant=("units", "samples", "scale", "unit scale", "offset"),
)
def shapiro(order_statistics: Mapping[str, Tensor]) -> dict[str, float]:
    """One less Shapiro and Wilk's W of the pre-activations, the median over units.

    1 - (sum_i a_i z_(i))^2 / sum_i (z_i - mean z)^2, z sorted over the batch and a Royston's approximate coefficients:
    0 if Gaussian, near 1 if nearly all of the spread is one sample's. Constant units are left out; 0 if all are.

    Args:
        order_statistics: layer to (U', n), of the pre-activations of the units that vary; see `normality`.

    >>> import torch
    >>> shapiro({"hidden0": torch.tensor([[-0.5, -0.5, -0.5, 1.5]], dtype=torch.float64)})  # doctest: +ELLIPSIS
    {'hidden0': 0.3702...}
    """
    return median_over_units(_one_less_w, order_statistics)


def _one_less_w(rows: Tensor) -> Tensor:
    a = coefficients(rows.shape[1]).to(rows.device)
    length: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return (1 - (rows @ a / length).square()).clamp(0.0, 1.0)


@cache
def coefficients(n: int) -> Tensor:
    """Return Royston's coefficients a of n >= 3 order statistics, (n,), doubles: antisymmetric, of length one.

    >>> [round(a, 4) for a in coefficients(5).tolist()]
    [-0.6646, -0.2414, 0.0, 0.2414, 0.6646]
    """
    places = (torch.arange(1, n + 1, dtype=torch.float64) - 0.375) / (n + 0.25)
    m = torch.special.ndtri(places)  # Blom's approximation of the expected order statistics
    a = m / m.norm()
    if n > 3:
        corrected = [a[-1] + _polynomial(OUTERMOST, n**-0.5)]
        if n > 5:
            corrected.append(a[-2] + _polynomial(SECOND, n**-0.5))
        a = _with_outermost(m, torch.stack(corrected))
    return torch.nn.functional.normalize(a, dim=0)


def _with_outermost(m: Tensor, outer: Tensor) -> Tensor:
    """Return `m`, shrunk so that it has length one with its largest entries, outermost first, replaced by `outer`."""
    k = len(outer)
    inner = m[k:-k]
    inner = inner * ((1 - 2 * outer.square().sum()) / inner.square().sum()).sqrt()
    return torch.cat([-outer, inner, outer.flip(0)])


def _polynomial(constants: tuple[float, ...], x: float) -> float:
    return sum(c * x**power for power, c in enumerate(constants))
