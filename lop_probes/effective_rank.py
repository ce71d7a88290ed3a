"""Effective rank: along how many directions a layer's activations spread."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lopgym.probes import register


@register(
    "effective_rank",
    bounds=(0, float("inf")),
    cite="Roy and Vetterli 2007 (EUSIPCO), definition 2.1",
    invariant=("units", "samples", "scale"),
)
def effective_rank(singular_values: Mapping[str, Tensor]) -> dict[str, float]:
    """Number of directions along which a layer's activations spread, by the entropy of their singular values.

    exp(-sum_i p_i ln p_i) with p_i = sigma_i / sum_j sigma_j, of the uncentred activations (B, U): between 1 and
    min(B, U). A dead layer has rank 0.

    Args:
        singular_values: layer to (min(B, U),).

    >>> import torch
    >>> effective_rank({"hidden0": torch.tensor([5.0, 5.0, 0.0]), "hidden1": torch.zeros(3)})
    {'hidden0': 2.0, 'hidden1': 0.0}
    """
    return {name: _exponential_entropy(sigma.double()) for name, sigma in singular_values.items()}


def _exponential_entropy(sigma: Tensor) -> float:
    total = sigma.sum()
    if total == 0:
        return 0.0
    entropy: Tensor = torch.special.entr(sigma / total).sum()
    return entropy.exp().item()
