"""Stagnant units: their weights move much less than those of the others of their layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lopgym.bounds import NonNegativeFloat
from lopgym.probes import register
from lopgym.probes.relative import relative_to_mean


def update_activities(weights: Tensor, before: Tensor) -> Tensor:
    """Return how far each unit's weights moved for their length, divided by the mean of that over the layer.

    r_u = ||w_u - w'_u|| / max(||w_u||, ||w'_u||), over (1/U sum_k r_k): the relative update activity of
    arXiv:2606.25335, of what the weights did between two measurements in place of ||g_u|| / ||w_u||, averaged over
    updates, of the gradient; under plain gradient descent both agree while steps are small. 1 is average; all are 0 in
    a layer that did not move.

    Args:
        weights: (U, I + 1).
        before: the same at the earlier measurement.

    Returns:
        Activities (U,), doubles.

    >>> update_activities(torch.tensor([[4.0, 3.0], [0.0, 1.0]]), torch.tensor([[1.0, 3.0], [0.0, 1.0]]))
    tensor([2., 0.], dtype=torch.float64)
    """
    w, w0 = weights.double(), before.double()
    # The longer of both: a unit that was reset, or grew from 0, would else dwarf the mean, and all others be stagnant.
    lengths = torch.maximum(w.norm(dim=1), w0.norm(dim=1))
    return relative_to_mean((w - w0).norm(dim=1) / lengths.where(lengths > 0, 1.0))


@register(
    "stagnant_fraction", bounds=(0, 1), cite="arXiv:2606.25335 (KNIFE)", invariant=("units", "scale", "unit scale")
)
def stagnant_fraction(
    weights: Mapping[str, Tensor], previous_weights: Mapping[str, Tensor], *, threshold: NonNegativeFloat = 0.25
) -> dict[str, float]:
    """Share of units whose weights moved much less than the layer's average since the last measurement.

    The share of units with `update_activities` < `threshold`. It compares units of one layer: a layer that slows down
    as a whole has none, and one that stands still has only stagnant ones.

    Args:
        weights: layer or head to (U, I + 1).
        previous_weights: the same at the last measurement.
        threshold: activity below which a unit is stagnant.

    >>> import torch
    >>> before, now = torch.eye(3), torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.01]])
    >>> stagnant_fraction({"hidden0": now}, {"hidden0": before})
    {'hidden0': 0.3333333333333333}
    """
    return {
        name: (update_activities(weights[name], before) < threshold).double().mean().item()
        for name, before in previous_weights.items()
    }
