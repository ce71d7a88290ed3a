"""Wasserstein distance from initialisation: how far a layer's weights are from the numbers it began with."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from lopgym.probes import register
from lopgym.probes.rising import rising
from lopgym.probes.weight_norm import frobenius


@register(
    "wasserstein_from_init",
    bounds=(0, float("inf")),
    cite="arXiv:2312.00246, the regulariser, as a distance",
    invariant=("units",),
)
def wasserstein_from_init(weights: Mapping[str, Tensor], initial_weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Distance between the distributions of a layer's weights and biases now and at the start of training.

    W_2 = (1/p sum_i (w_(i) - w0_(i))^2)^(1/2), both sorted, of p parameters: blind to which weight went where, it sees
    only that fresh numbers have become others. At most `distance_from_init` / p^(1/2). The regulariser is its square,
    weights and biases each by themselves.

    Args:
        weights: layer or head to (U, I + 1).
        initial_weights: the same at the start of training; layers missing here are left out.

    >>> import torch
    >>> wasserstein_from_init({"hidden0": torch.tensor([[5.0, 1.0]])}, {"hidden0": torch.tensor([[1.0, 2.0]])})
    {'hidden0': 2.1213203435596424}
    """
    return {name: _distance(weights[name], w0) for name, w0 in initial_weights.items()}


def _distance(w: Tensor, w0: Tensor) -> float:
    return frobenius(rising(w.flatten()).double() - rising(w0.flatten()).double()) / math.sqrt(w.numel())
