"""Saturated units: the loss hardly depends on what they say."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.bounds import Fraction, NonNegativeFloat
from lopgym.probes import register
from lopgym.probes.averages import mean_magnitudes, mean_over_samples

FLOOR = 1e-12  # the authors': what a silent unit's mean magnitude counts as


@register(
    "saturated_fraction",
    bounds=(0, 1),
    cite="arXiv:2510.00304, the authors' metrics.py",
    invariant=("units", "samples", "scale", "unit scale"),
)
def saturated_fraction(
    activations: Mapping[str, Tensor],
    signals: Mapping[str, Tensor],
    *,
    threshold: NonNegativeFloat = 1e-4,
    share: Fraction = 0.99,
) -> dict[str, float]:
    """Share of units on whose activation the loss hardly depends, by the authors' definition.

    Unit u is saturated if |dL_b/dh_bu| / max(E_b|h_bu|, 1e-12) < `threshold` on more than `share` of the samples b.
    The derivative is by the activation, so a flat activation does not show in it: neither a dead ReLU nor a tanh at
    its end is saturated unless nobody reads it; see `frozen_fraction`. L_b is the loss of one sample; the authors
    take the mean's, whose derivatives shrink with the batch: their value is that of `threshold` times B.

    Args:
        activations: layer to (B, U).
        signals: layer to (B, U), the derivative of each sample's loss by the unit's activation.
        threshold: ratio below which a unit is saturated on a sample.
        share: share of such samples above which it is saturated.

    >>> import torch
    >>> h, signal = torch.tensor([[2.0, -2.0], [0.0, 2.0]]), torch.tensor([[1e-5, 1.0], [0.0, 0.0]])
    >>> saturated_fraction({"hidden0": h}, {"hidden0": signal})
    {'hidden0': 0.5}
    """
    return {name: _share_saturated(h, signals[name], threshold, share) for name, h in activations.items()}


def _share_saturated(h: Tensor, signal: Tensor, threshold: float, share: float) -> float:
    limits = (threshold * mean_magnitudes(h).clamp(min=FLOOR)).to(signal.dtype)
    flat = mean_over_samples(lambda some: (some.abs() < limits).count_nonzero(dim=0), signal)
    return (flat > share).double().mean().item()
