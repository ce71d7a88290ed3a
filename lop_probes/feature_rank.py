"""Feature rank: how many directions of a layer's activations are not small."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from lopgym.bounds import NonNegativeFloat
from lopgym.probes import register


@register("feature_rank", bounds=(0, float("inf")), cite="arXiv:2204.09560 eq. 5", invariant=("units", "samples"))
def feature_rank(
    singular_values: Mapping[str, Tensor],
    activations: Mapping[str, Tensor],
    *,
    threshold: NonNegativeFloat = 0.01,
) -> dict[str, float]:
    """Number of directions along which a layer's activations are longer than a threshold.

    The number of i with sigma_i / B^(1/2) > `threshold`, of the uncentred activations (B, U): unlike the other ranks it
    has a scale, and falls where a layer merely becomes quiet. A dead layer has rank 0.

    Args:
        singular_values: layer to (min(B, U),).
        activations: layer to (B, U).
        threshold: root mean square along a direction, above which it counts.

    >>> import torch
    >>> feature_rank({"hidden0": torch.tensor([4.0, 0.04, 0.02])}, {"hidden0": torch.zeros(9, 3)})
    {'hidden0': 2.0}
    """
    return {
        name: _count(sigma.double() / len(activations[name]) ** 0.5, threshold)
        for name, sigma in singular_values.items()
    }


def _count(lengths: Tensor, threshold: float) -> float:
    return math.nan if lengths.isnan().any() else float((lengths > threshold).sum().item())
