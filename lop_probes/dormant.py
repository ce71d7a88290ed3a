"""Dormant units: much quieter than the average of their layer."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.bounds import NonNegativeFloat
from lopgym.probes import register
from lopgym.probes.averages import mean_magnitudes
from lopgym.probes.relative import relative_to_mean


def dormancy_scores(activation: Tensor) -> Tensor:
    """Return each unit's mean magnitude over the batch, divided by the mean of that over its layer.

    s_u = E_x|h_u(x)| / (1/U sum_k E_x|h_k(x)|), arXiv:2302.12902 definition 3.1: the expectation first, then the ratio,
    so that one sample on which all units are off does no harm. 0 is silent, 1 is average; all are 0 in a silent layer.

    Args:
        activation: (B, U), or of a convolution (B, C, H, W).

    Returns:
        Scores (U,) or (C,), doubles.

    >>> import torch
    >>> dormancy_scores(torch.tensor([[1.0, 0.0, -5.0], [1.0, 0.0, -5.0]]))
    tensor([0.5000, 0.0000, 2.5000], dtype=torch.float64)
    """
    rows = activation.detach().movedim(1, -1).flatten(0, -2)
    return relative_to_mean(mean_magnitudes(rows))


@register(
    "dormant_fraction", bounds=(0, 1), cite="arXiv:2302.12902 definition 3.1", invariant=("units", "samples", "scale")
)
def dormant_fraction(activations: Mapping[str, Tensor], *, tau: NonNegativeFloat = 0.025) -> dict[str, float]:
    """Share of units that are much quieter than the average of their layer.

    The share of units with `dormancy_scores` <= `tau`. It compares magnitudes, so saturated tanh units are not dormant.

    Args:
        activations: layer to (B, U).
        tau: score up to which a unit is dormant; 0 for units silent on the whole batch.

    >>> import torch
    >>> dormant_fraction({"hidden0": torch.tensor([[0.0, 2.0, -2.0, 0.01], [0.0, 1.0, 3.0, 0.01]])})
    {'hidden0': 0.5}
    """
    return {name: (dormancy_scores(h) <= tau).double().mean().item() for name, h in activations.items()}
