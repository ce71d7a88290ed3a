"""Feature norm: how long a layer's vector of activations is."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lopgym.probes import register


@register("feature_norm", bounds=(0, float("inf")), cite="arXiv:2405.00662", invariant=("units", "samples"))
def feature_norm(activations: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean length of a layer's vector of activations.

    E_x ||h(x)||_2; of a convolution, over places too. It grows with the weights and with the width: compare at equal
    width.

    Args:
        activations: layer to (B, U).

    >>> import torch
    >>> feature_norm({"hidden0": torch.tensor([[3.0, -4.0], [0.0, 1.0]])})
    {'hidden0': 3.0}
    """
    return {name: _mean_length(h) for name, h in activations.items()}


def _mean_length(h: Tensor) -> float:
    lengths: Tensor = torch.linalg.vector_norm(h, dim=1, dtype=torch.float64)
    return lengths.mean().item()
