"""Weight norm: how large a layer has grown."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lopgym.probes import register


@register("weight_norm", bounds=(0, float("inf")), cite="arXiv:2303.01486, the parameter norm", invariant=("units",))
def weight_norm(weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Frobenius norm of a layer's weights and biases.

    (sum_ui w_ui^2)^(1/2). Weights grow with training, whether plasticity is lost or not: compare at equal time.

    Args:
        weights: layer or head to (U, I + 1).

    >>> import torch
    >>> weight_norm({"hidden0": torch.tensor([[1.0, 2.0], [2.0, 4.0]])})
    {'hidden0': 5.0}
    """
    return {name: frobenius(w) for name, w in weights.items()}


def frobenius(matrix: Tensor) -> float:
    """Return the Frobenius norm, summed in doubles so that large single-precision entries do not overflow."""
    norm: Tensor = torch.linalg.vector_norm(matrix, dtype=torch.float64)
    return norm.item()
