"""Inverse condition number: how near a layer's weights are to losing a direction."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.probes import register


@register(
    "inverse_condition_number",
    bounds=(0, 1),
    cite="Golub and Van Loan 2013 (Matrix Computations), eq. 2.6.5",
    invariant=("units", "scale"),
)
def inverse_condition_number(kernel_singular_values: Mapping[str, Tensor]) -> dict[str, float]:
    """One over the condition number of a layer's weights, without biases.

    1 / kappa_2(W) = sigma_min / sigma_max, of W (U, I) with min(U, I) singular values: 1 if all directions are
    stretched alike, and 0 if one is lost, where kappa itself would be infinite. Below 1e-8 times the square root of
    that number, where in single precision rounding begins, it is 0.

    Args:
        kernel_singular_values: layer or head to (min(U, I),), falling.

    >>> import torch
    >>> inverse_condition_number({"hidden0": torch.tensor([4.0, 1.0]), "head": torch.tensor([2.0, 0.0])})
    {'hidden0': 0.25, 'head': 0.0}
    """
    return {name: _ratio(sigma) for name, sigma in kernel_singular_values.items()}


def _ratio(sigma: Tensor) -> float:
    return (sigma[-1] / sigma[0].where(sigma[0] != 0, 1.0)).item()
