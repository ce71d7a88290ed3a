"""Update norm: how far a layer has moved since it was last looked at."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.probes import register
from lopgym.probes.distance_from_init import distance_from_init


@register(
    "update_norm", bounds=(0, float("inf")), cite="arXiv:2303.07507 sec. 4.1, weight change", invariant=("units",)
)
def update_norm(weights: Mapping[str, Tensor], previous_weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Frobenius distance of a layer's weights and biases from their values at the last measurement.

    (sum_ui (w_ui - w'_ui)^2)^(1/2): `distance_from_init` with another origin. It is a displacement, not a path: steps
    that undo each other between two measurements do not count. Compare at one cadence.

    Args:
        weights: layer or head to (U, I + 1).
        previous_weights: the same at the last measurement; layers missing here are left out.

    >>> import torch
    >>> update_norm({"hidden0": torch.tensor([[4.0, 1.0]])}, {"hidden0": torch.tensor([[1.0, 5.0]])})
    {'hidden0': 5.0}
    """
    return distance_from_init(weights, previous_weights)
