"""Volatile units: their weights move much more than those of the others of their layer."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.bounds import NonNegativeFloat
from lopgym.probes import register
from lopgym.probes.stagnant import update_activities


@register(
    "volatile_fraction", bounds=(0, 1), cite="arXiv:2606.25335 (KNIFE)", invariant=("units", "scale", "unit scale")
)
def volatile_fraction(
    weights: Mapping[str, Tensor], previous_weights: Mapping[str, Tensor], *, threshold: NonNegativeFloat = 3.0
) -> dict[str, float]:
    """Share of units whose weights moved much more than the layer's average since the last measurement.

    The share of units with `update_activities` > `threshold`. Units that a mitigation re-initialised are among them.

    Args:
        weights: layer or head to (U, I + 1).
        previous_weights: the same at the last measurement.
        threshold: activity above which a unit is volatile.

    >>> import torch
    >>> before = torch.ones(4, 1)
    >>> volatile_fraction({"hidden0": torch.tensor([[2.0], [1.01], [1.01], [1.01]])}, {"hidden0": before})
    {'hidden0': 0.25}
    """
    return {
        name: (update_activities(weights[name], before) > threshold).double().mean().item()
        for name, before in previous_weights.items()
    }
