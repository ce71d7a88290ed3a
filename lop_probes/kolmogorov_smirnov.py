"""Kolmogorov and Smirnov's test: how little pre-activations look Gaussian, by the widest gap."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lopgym.probes import register
from lopgym.probes.normality import median_over_units


@register(
    "kolmogorov_smirnov",
    bounds=(0, 1),
    cite="Lilliefors 1967 (JASA 62); arXiv:2510.00304, the authors' metrics.py",
    invariant=("units", "samples", "scale", "unit scale", "offset"),
)
def kolmogorov_smirnov(order_statistics: Mapping[str, Tensor]) -> dict[str, float]:
    """Widest gap of the pre-activations' distribution to the Gaussian of their mean and spread, the median over units.

    max_i max(i/n - Phi(z_(i)), Phi(z_(i)) - (i - 1)/n), z sorted and standardised over the batch by its own mean and
    standard deviation (n - 1). About 0.6 / n^(1/2) if Gaussian. Constant units are left out; 0 if all are. The authors'
    code divides by n, takes the mean over units and counts constant ones as 1.

    Args:
        order_statistics: layer to (U', n), of the pre-activations of the units that vary; see `normality`.

    >>> import torch
    >>> kolmogorov_smirnov({"hidden0": torch.tensor([[-1.0, 0.0, 1.0]])})  # doctest: +ELLIPSIS
    {'hidden0': 0.17467807...}
    """
    return median_over_units(_widest_gap, order_statistics)


def _widest_gap(rows: Tensor) -> Tensor:
    n = rows.shape[1]
    steps = torch.arange(n + 1, dtype=torch.float64, device=rows.device) / n
    gaussian = torch.special.ndtr(rows)
    return torch.maximum(steps[1:] - gaussian, gaussian - steps[:-1]).amax(dim=1)
