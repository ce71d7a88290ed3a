"""Power iteration: a matrix's largest singular value, tracked cheaply while the matrix changes slowly."""

from __future__ import annotations

import torch
from torch import Tensor


def singular_vectors(matrix: Tensor, left: Tensor, iterations: int = 1) -> tuple[Tensor, Tensor]:
    """Turn `left` towards the first left singular vector of `matrix`, and return it with the right one.

    Args:
        matrix: (rows, columns).
        left: unit vector (rows,), the estimate so far.
        iterations: steps to take, at least one; the error falls by (sigma_2 / sigma_1)^2 in each.

    Returns:
        Left (rows,) and right (columns,) unit vectors u and v; u W v estimates sigma_1 from below. Where W maps a
        vector to zero there is no direction to turn to: the left one stays, and the right one is zero.

    >>> singular_vectors(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([0.6, 0.8]), 9)[0].round(decimals=3)
    tensor([1., 0.])
    """
    for _ in range(iterations):
        right = torch.nn.functional.normalize(matrix.T @ left, dim=0)
        turned = matrix @ right
        length = torch.linalg.vector_norm(turned)
        if float(length) > 0:
            left = turned / length.clamp(min=torch.finfo(length.dtype).tiny)
    return left, right


def as_matrix(weight: Tensor) -> Tensor:
    """View a weight (units, ...) as (units, inputs): each kernel of a convolution becomes one row."""
    return weight.flatten(1)
