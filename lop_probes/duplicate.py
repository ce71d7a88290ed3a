"""Duplicate units: two that always say the same."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.bounds import Fraction
from lopgym.probes import register


def share_with_twin(similarities: Tensor, threshold: float) -> float:
    """Return the share of units (U, U) that are more similar than `threshold` to some other unit.

    >>> import torch
    >>> share_with_twin(torch.tensor([[1.0, 0.9], [0.9, 1.0]]), 0.8)
    1.0
    """
    alike = (similarities > threshold).fill_diagonal_(False)
    return alike.any(dim=1).double().mean().item()


@register(
    "duplicate_fraction",
    bounds=(0, 1),
    cite="arXiv:2510.00304, the authors' metrics.py, centred",
    invariant=("units", "samples", "scale", "unit scale", "offset"),
)
def duplicate_fraction(correlations: Mapping[str, Tensor], *, threshold: Fraction = 0.95) -> dict[str, float]:
    """Share of units that rise and fall with another unit of their layer.

    Unit u has a duplicate if Pearson's correlation of its activation with some other unit's is above `threshold`: the
    cosine of `duplicate_cosine_fraction`, of centred activations. Constant units, dead or saturated, have none.

    Args:
        correlations: layer to (U, U).
        threshold: correlation above which two units are duplicates.

    >>> import torch
    >>> same, opposite = 0.99, -0.99
    >>> duplicate_fraction({"hidden0": torch.tensor([[1, same, opposite], [same, 1, opposite], [opposite] * 2 + [1]])})
    {'hidden0': 0.6666666666666666}
    """
    return {name: share_with_twin(c, threshold) for name, c in correlations.items()}
