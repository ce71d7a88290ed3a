"""Dead units: silent on nearly every input."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.bounds import Fraction, NonNegativeFloat
from lopgym.probes import register
from lopgym.probes.averages import mean_over_samples


@register(
    "dead_fraction", bounds=(0, 1), cite="arXiv:2510.00304, the authors' metrics.py", invariant=("units", "samples")
)
def dead_fraction(
    activations: Mapping[str, Tensor], *, threshold: NonNegativeFloat = 1e-7, share: Fraction = 0.95
) -> dict[str, float]:
    """Share of units that are silent on nearly every input, by the authors' definition.

    Unit u is dead if |h_u| < `threshold` on more than `share` of the B samples. It counts zeros, so it sees dead ReLUs
    but not saturated tanh units: `zero_gradient_fraction` sees both, once the derivative rounds to 0.

    Args:
        activations: layer to (B, U).
        threshold: magnitude below which a unit is silent.
        share: share of silent samples above which a unit is dead.

    >>> import torch
    >>> dead_fraction({"hidden0": torch.tensor([[0.0, 0.0, 1.0, -2.0], [0.0, 3.0, 0.0, -2.0]])})
    {'hidden0': 0.25}
    """
    return {name: _share_dead(h, threshold, share) for name, h in activations.items()}


def _share_dead(h: Tensor, threshold: float, share: float) -> float:
    silent = mean_over_samples(lambda some: (some.abs() < threshold).count_nonzero(dim=0), h)
    return (silent > share).double().mean().item()
