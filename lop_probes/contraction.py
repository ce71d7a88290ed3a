"""Contraction: how much nearer to each other a layer brings what goes into it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lopgym.probes import register

ROWS = 256  # 33 thousand pairs


@register(
    "contraction",
    bounds=(0, float("inf")),
    cite="after Barnsley and Elton 1988 (Adv. Appl. Prob. 20), average contraction, there of logarithms",
    invariant=("units", "samples", "scale", "offset"),
)
def contraction(inputs: Mapping[str, Tensor], activations: Mapping[str, Tensor]) -> dict[str, float]:
    """Average contraction of a layer: the distance between samples behind it, relative to the one before it.

    E||f(W x + b) - f(W y + b)|| / E||x - y|| over all pairs of samples: below 1 the layer draws its inputs together,
    above 1 it spreads them. Of a convolution, over pairs of patches. Of more than 256 rows, as many evenly spaced ones
    count. 0 where the inputs do not vary.

    Args:
        inputs: layer to (B, I + 1).
        activations: layer to (B, U).

    >>> import torch
    >>> x = {"hidden0": torch.tensor([[0.0, 0.0], [3.0, 4.0]])}
    >>> contraction(x, {"hidden0": torch.tensor([[0.0], [2.0]])})
    {'hidden0': 0.4}
    """
    return {name: _ratio(inputs[name], h) for name, h in activations.items() if name in inputs}


def _ratio(before: Tensor, after: Tensor) -> float:
    spread = _mean_distance(before)
    return _mean_distance(after) / spread if spread > 0 else 0.0


def _mean_distance(rows: Tensor) -> float:
    rows = rows[:: math.ceil(len(rows) / ROWS)].double()
    return torch.pdist(rows).mean().item() if len(rows) > 1 else 0.0
