"""The srank: how many singular values carry nearly all of their sum."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.bounds import Fraction
from lopgym.probes import register


@register("srank", bounds=(0, float("inf")), cite="arXiv:2010.14498 sec. 3", invariant=("units", "samples", "scale"))
def srank(singular_values: Mapping[str, Tensor], *, delta: Fraction = 0.01) -> dict[str, float]:
    """Number of singular values of a layer's activations that carry nearly all of their sum.

    The least k with sum_{i<=k} sigma_i >= (1 - delta) sum_i sigma_i, sigma falling, of the uncentred activations
    (B, U). Some call this the stable rank, which is something else. A dead layer has rank 0.

    Args:
        singular_values: layer to (min(B, U),), falling.
        delta: share of the sum that may be left out.

    >>> import torch
    >>> srank({"hidden0": torch.tensor([98.0, 1.5, 0.5]), "hidden1": torch.zeros(3)})
    {'hidden0': 2.0, 'hidden1': 0.0}
    """
    return {name: _least_count(sigma.double(), delta) for name, sigma in singular_values.items()}


def _least_count(sigma: Tensor, delta: float) -> float:
    sums = sigma.cumsum(dim=0)
    if not sums[-1] > 0:
        return sums[-1].item()  # 0 of a dead layer, NaN of one that is not finite
    return 1.0 + (sums < (1 - delta) * sums[-1]).sum().item()
