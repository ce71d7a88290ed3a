"""Anderson and Darling's test: how little pre-activations look Gaussian, the tails above all."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lopgym.probes import register
from lopgym.probes.normality import median_over_units


@register(
    "anderson_darling",
    bounds=(0, float("inf")),
    cite="Stephens 1974 (JASA 69), A^2 of case 3; arXiv:2510.00304, the authors' metrics.py",
    invariant=("units", "samples", "scale", "unit scale", "offset"),
)
def anderson_darling(order_statistics: Mapping[str, Tensor]) -> dict[str, float]:
    """Distance A^2 of the pre-activations from the Gaussian of their mean and spread, the median over units.

    -n - 1/n sum_i (2i - 1) (ln Phi(z_(i)) + ln Phi(-z_(n+1-i))), z sorted and standardised over the batch by its own
    mean and standard deviation (n - 1). About 0.34 if Gaussian, whatever n; otherwise it grows with n: compare at equal
    batch. Constant units are left out; 0 if all are. The authors' code divides it by its 5 % critical value, caps that
    at 10, takes the mean over units and counts constant ones as 10.

    Args:
        order_statistics: layer to (U', n), of the pre-activations of the units that vary; see `normality`.

    >>> import torch
    >>> anderson_darling({"hidden0": torch.tensor([[-1.0, 0.0, 1.0]], dtype=torch.float64)})  # doctest: +ELLIPSIS
    {'hidden0': 0.18948805...}
    """
    return median_over_units(_squared, order_statistics)


def _squared(rows: Tensor) -> Tensor:
    n = rows.shape[1]
    odd = 2 * torch.arange(n, dtype=torch.float64, device=rows.device) + 1
    logarithms: Tensor = torch.special.log_ndtr(rows) + torch.special.log_ndtr(-rows.flip(1))
    return (-n - logarithms @ odd / n).clamp(min=0.0)
