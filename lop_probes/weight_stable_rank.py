"""Stable rank of weights: how evenly a layer stretches what it is given."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.probes import register


@register(
    "weight_stable_rank",
    bounds=(0, float("inf")),
    cite="Rudelson and Vershynin 2007 (J. ACM 54), numerical rank; arXiv:2412.07224 of reinforcement learning",
    invariant=("units", "scale"),
)
def weight_stable_rank(kernel_singular_values: Mapping[str, Tensor]) -> dict[str, float]:
    """Stable rank of a layer's weights, without biases.

    ||W||_F^2 / ||W||_2^2 = sum_i sigma_i^2 / sigma_1^2, of W (U, I): between 1 and min(U, I); 0 if all are zero.
    This, the true stable rank, is of weights; what others log under that name of activations is `srank` or
    `participation_ratio`.

    Args:
        kernel_singular_values: layer or head to (min(U, I),), falling.

    >>> import torch
    >>> weight_stable_rank({"hidden0": torch.tensor([4.0, 2.0])})
    {'hidden0': 1.25}
    """
    return {name: _share(sigma) for name, sigma in kernel_singular_values.items()}


def _share(sigma: Tensor) -> float:
    top = sigma[0].where(sigma[0] != 0, 1.0)
    return (sigma / top).square().sum().item()
