"""Effective learning rate: how far a layer has moved, measured in its own size."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.probes import register
from lopgym.probes.update_norm import update_norm
from lopgym.probes.weight_norm import weight_norm


@register("effective_learning_rate", bounds=(0, 2), cite="arXiv:2407.01800, as a ratio", invariant=("units", "scale"))
def effective_learning_rate(weights: Mapping[str, Tensor], previous_weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Movement of a layer's weights and biases since the last measurement, relative to their size.

    ||w - w'||_F / max(||w||_F, ||w'||_F): what is left of the learning rate where weights have grown and the function
    depends on their direction only. Over all the updates between two measurements, so compare at one cadence; 2 if the
    layer has been turned round.

    Args:
        weights: layer or head to (U, I + 1).
        previous_weights: the same at the last measurement; layers missing here are left out.

    >>> import torch
    >>> effective_learning_rate({"hidden0": torch.tensor([[3.0, 4.0]])}, {"hidden0": torch.tensor([[3.0, 3.0]])})
    {'hidden0': 0.2}
    """
    now, before = weight_norm(weights), weight_norm(previous_weights)
    moved = update_norm(weights, previous_weights)
    return {name: moved[name] / (max(now[name], before[name]) or 1.0) for name in moved}
