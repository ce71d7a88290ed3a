"""Nearest clone: how like the most similar other unit a unit is."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, inf

from lopgym.probes import register
from lopgym.probes.clones import resemblance


@register(
    "nearest_clone",
    bounds=(-1, 1),
    cite="arXiv:2510.00304, cloned units",
    invariant=("units", "samples", "scale", "unit scale", "offset"),
)
def nearest_clone(activations: Mapping[str, Tensor], errors: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean over live units of their resemblance to the most similar other: 1 if each has an exact clone.

    mean_u max_{v != u} C_uv, with C_uv = min(Pearson's correlation of activations, cosine of errors). It needs no
    threshold, so it shows units drawing together before `clone_fraction` does. 0 where fewer than two units live.

    Args:
        activations: layer to (B, U).
        errors: layer to (B, U).

    >>> import torch
    >>> h, e = torch.arange(4.0)[:, None].repeat(1, 2), torch.tensor([[2.0, 0.0, 0.0, 0.0], [1.0] * 4]).T
    >>> nearest_clone({"hidden0": h}, {"hidden0": e})  # they say the same, and are told it at an angle of 60 degrees
    {'hidden0': 0.5}
    """
    return {name: _mean_nearest(resemblance(h, errors[name])) for name, h in activations.items()}


def _mean_nearest(likeness: Tensor) -> float:
    live = likeness.diagonal() > 0
    if live.sum() < 2:
        return 0.0
    others = likeness[live][:, live].fill_diagonal_(-inf)
    return others.amax(dim=1).mean().item()
