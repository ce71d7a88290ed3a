"""Participation ratio: among how many directions a layer's variance is shared."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.probes import register


@register(
    "participation_ratio",
    bounds=(0, float("inf")),
    cite="arXiv:2510.00304, the authors' metrics.py, where it is called stable rank",
    invariant=("units", "samples", "scale", "offset"),
)
def participation_ratio(covariances: Mapping[str, Tensor]) -> dict[str, float]:
    """Number of directions that share a layer's variance, by its second moment.

    tr(C)^2 / tr(C^2), C the covariance (U, U) of the activations, so of centred ones: between 1 and min(B - 1, U). A
    layer whose units are all constant, dead or saturated, has 0.

    Args:
        covariances: layer to (U, U); zero for constant units.

    >>> import torch
    >>> participation_ratio({"hidden0": torch.diag(torch.tensor([4.0, 4.0, 0.0]))})
    {'hidden0': 2.0}
    """
    return {name: _ratio(covariance.double()) for name, covariance in covariances.items()}


def _ratio(covariance: Tensor) -> float:
    greatest = covariance.diagonal().max()
    shares = covariance / greatest.where(greatest != 0, 1.0)  # so that no square overflows
    squares = shares.square().sum()
    return (shares.trace().square() / squares.where(squares != 0, 1.0)).item()
