"""Dormant overlap: whether it is always the same units that are quiet."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.bounds import NonNegativeFloat
from lopgym.probes import register
from lopgym.probes.dormant import dormancy_scores


@register(
    "dormant_overlap",
    bounds=(0, 1),
    cite="arXiv:2302.12902 sec. 3, as the authors log it in Dopamine, labs/redo",
    invariant=("units", "samples", "scale"),
)
def dormant_overlap(
    activations: Mapping[str, Tensor], previous_activations: Mapping[str, Tensor], *, tau: NonNegativeFloat = 0.025
) -> dict[str, float]:
    """Share of the units dormant at the last measurement that still are.

    |D' n D| / |D'| of the sets of units with `dormancy_scores` <= `tau`, then (D') and now (D); 0 where none was
    dormant. Near 1, units that fall asleep stay asleep; near `dormant_fraction`, they take turns. The paper
    plots the overlap coefficient of D with all units that were dormant before. It divides by the smaller of both sets
    and is another number: 1 as soon as either holds the other.

    Args:
        activations: layer to (B, U).
        previous_activations: the same at the last measurement, on the batch of that time, (B', U).
        tau: score up to which a unit is dormant.

    >>> import torch
    >>> before, now = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    >>> dormant_overlap({"hidden0": now}, {"hidden0": before})
    {'hidden0': 0.5}
    """
    return {name: _share_still(h, activations[name], tau) for name, h in previous_activations.items()}


def _share_still(before: Tensor, now: Tensor, tau: float) -> float:
    dormant = dormancy_scores(before) <= tau
    still = dormant & (dormancy_scores(now) <= tau)
    return still.sum().item() / max(dormant.sum().item(), 1)
