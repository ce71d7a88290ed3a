"""Stable rank of weights: how evenly a layer stretches what it is given."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.probes import matrices, register


@register(
    "weight_stable_rank",
    bounds=(0, float("inf")),
    cite="Rudelson and Vershynin 2007 (J. ACM 54), numerical rank; arXiv:2412.07224 of reinforcement learning",
    invariant=("units", "scale"),
)
def weight_stable_rank(weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Stable rank of a layer's weights, its biases as one more column.

    ||W||_F^2 / ||W||_2^2 = sum_i sigma_i^2 / sigma_1^2, of (U, I + 1): between 1 and min(U, I + 1); 0 if all are zero.
    This, the true stable rank, is of weights; what others log under that name of activations is `srank` or
    `participation_ratio`.

    Args:
        weights: layer or head to (U, I + 1).

    >>> import torch
    >>> weight_stable_rank({"hidden0": torch.tensor([[4.0, 0.0], [0.0, 2.0]])})
    {'hidden0': 1.25}
    """
    return {name: _share(weight_singular_values(w)) for name, w in weights.items()}


def weight_singular_values(w: Tensor) -> Tensor:
    """Return the singular values of (U, I + 1), falling, (min(U, I + 1),), by way of the smaller Gram matrix.

    >>> import torch
    >>> weight_singular_values(torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]]))
    tensor([4., 3.], dtype=torch.float64)
    """
    return matrices.singular_values(matrices.gram(w if w.shape[1] <= len(w) else w.T))


def _share(sigma: Tensor) -> float:
    top = sigma[0].where(sigma[0] != 0, 1.0)
    return (sigma / top).square().sum().item()
