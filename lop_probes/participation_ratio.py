"""Participation ratio: among how many directions a layer's variance is shared."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lopgym.probes import register


@register(
    "participation_ratio",
    bounds=(0, float("inf")),
    cite="arXiv:2510.00304, the authors' metrics.py, where it is called stable rank",
    invariant=("units", "samples", "scale", "offset"),
)
def participation_ratio(correlations: Mapping[str, Tensor], activations: Mapping[str, Tensor]) -> dict[str, float]:
    """Number of directions that share a layer's variance, by its second moment.

    tr(C)^2 / tr(C^2), C the covariance (U, U) of the activations, so of centred ones: between 1 and min(B - 1, U). A
    layer whose units are all constant, dead or saturated, has 0. From C_uv = r_uv s_u s_v, with the correlations r that
    other probes use too.

    Args:
        correlations: layer to (U, U); zero for constant units.
        activations: layer to (B, U).

    >>> import torch
    >>> h = torch.tensor([[2.0, 2.0, 7.0], [-2.0, 2.0, 7.0], [2.0, -2.0, 7.0], [-2.0, -2.0, 7.0]])
    >>> participation_ratio({"hidden0": torch.diag(torch.tensor([1.0, 1.0, 0.0]))}, {"hidden0": h})
    {'hidden0': 2.0}
    """
    return {name: _ratio(r.double(), activations[name].double()) for name, r in correlations.items()}


def _ratio(r: Tensor, h: Tensor) -> float:
    variances = (h - h.mean(dim=0)).square().mean(dim=0)
    shares = variances / torch.where(variances > 0, variances, 1.0).max()  # so that no square overflows
    trace, squares = r.diagonal() @ shares, shares @ r.square() @ shares
    return (trace.square() / squares.where(squares != 0, 1.0)).item()
