"""Frozen units: their activation is flat wherever they are."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.bounds import NonNegativeFloat
from lopgym.probes import register


@register("frozen_fraction", bounds=(0, 1), cite="arXiv:2510.00304, frozen units", invariant=("units", "samples"))
def frozen_fraction(derivatives: Mapping[str, Tensor], *, tau: NonNegativeFloat = 1e-3) -> dict[str, float]:
    """Share of units whose activation function is flat at every sample, so that no gradient passes them.

    Unit u is frozen if |f'(z_bu)| <= `tau` on all samples b, whatever f: a ReLU or GELU far below 0 and, though it is
    neither dead nor dormant, a tanh or sigmoid at its end. f' is 1 where an activation is linear, so `tau` is the
    share of a gradient that it lets through; for a sigmoid, whose greatest slope is 1/4, take a quarter. In the paper
    frozen units let exactly nothing through.

    Args:
        derivatives: layer to (B, U), of the activation function at the pre-activation.
        tau: slope up to which an activation is flat; 0 for units that let exactly nothing through.

    >>> import torch
    >>> frozen_fraction({"hidden0": torch.tensor([[0.0, 1e-9, 0.0], [0.0, -1e-9, 1.0]])})
    {'hidden0': 0.6666666666666666}
    """
    return {name: (slope.abs().amax(dim=0) <= tau).double().mean().item() for name, slope in derivatives.items()}
