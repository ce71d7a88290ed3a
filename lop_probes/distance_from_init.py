"""Distance from initialisation: how far a layer has moved since it was fresh."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.probes import register
from lopgym.probes.weight_norm import frobenius


@register(
    "distance_from_init", bounds=(0, float("inf")), cite="arXiv:2308.11958, the regulariser", invariant=("units",)
)
def distance_from_init(weights: Mapping[str, Tensor], initial_weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Frobenius distance of a layer's weights and biases from their values at the start of training.

    (sum_ui (w_ui - w0_ui)^2)^(1/2), the square root of what L2-init penalises.

    Args:
        weights: layer or head to (U, I + 1).
        initial_weights: the same at the start of training; layers missing here are left out.

    >>> import torch
    >>> distance_from_init({"hidden0": torch.tensor([[4.0, 1.0]])}, {"hidden0": torch.tensor([[1.0, 5.0]])})
    {'hidden0': 5.0}
    """
    return {name: frobenius(weights[name].double() - w0.double()) for name, w0 in initial_weights.items()}
