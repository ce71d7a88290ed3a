"""Gradient norm: how hard the loss pulls at a layer."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.probes import register
from lopgym.probes.weight_norm import frobenius


@register("gradient_norm", bounds=(0, float("inf")), cite="arXiv:2303.07507 sec. 4.2", invariant=("units",))
def gradient_norm(gradients: Mapping[str, Tensor]) -> dict[str, float]:
    """Frobenius norm of the gradient of a layer's weights and biases.

    (sum_ui g_ui^2)^(1/2), on one batch.

    Args:
        gradients: layer or head to (U, I + 1).

    >>> import torch
    >>> gradient_norm({"hidden0": torch.tensor([[3.0, 0.0], [0.0, 4.0]])})
    {'hidden0': 5.0}
    """
    return {name: frobenius(g) for name, g in gradients.items()}
