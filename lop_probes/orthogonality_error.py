"""Orthogonality error: how far a layer is from turning without stretching."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lopgym.probes import matrices, register
from lopgym.probes.weight_norm import frobenius


@register(
    "orthogonality_error",
    bounds=(0, float("inf")),
    cite="arXiv:2412.07224, the penalty, with the s that fits, relative to it",
    invariant=("units", "scale"),
)
def orthogonality_error(kernels: Mapping[str, Tensor]) -> dict[str, float]:
    """Relative distance of a layer's weights from a multiple of an orthogonal matrix, without biases.

    ||G / s - 1||_F / n^(1/2), G the smaller of W W^T and W^T W, (n, n), and s = tr(G) / n: 0 if orthogonal, whatever
    the gain; (n - 1)^(1/2) if of rank one; 0 if all weights are zero. It is the root of the Parseval penalty,
    ||W W^T - s||_F^2, which keeps s where it began.

    Args:
        kernels: layer or head to (U, I).

    >>> import torch
    >>> orthogonality_error({"hidden0": torch.tensor([[0.0, 3.0], [-3.0, 0.0]]), "head": torch.ones(2, 2)})
    {'hidden0': 0.0, 'head': 1.0}
    """
    return {name: _error(matrices.smaller_gram(w)) for name, w in kernels.items()}


def _error(gram: Tensor) -> float:
    scale = gram.diagonal().mean()
    if scale == 0:
        return 0.0
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return frobenius(gram / scale - identity) / math.sqrt(len(gram))
