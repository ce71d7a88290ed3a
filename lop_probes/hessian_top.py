"""Top eigenvalue of the Hessian: how sharply the loss curves where it curves most."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lopgym.bounds import PositiveInt
from lopgym.probes import register

Directions = Mapping[str, Tensor]
RESIDUAL = 1e-5  # relative; in single precision products are not known much better


@register(
    "hessian_top",
    bounds=(-float("inf"), float("inf")),
    cite="Golub and Van Loan 2013 (Matrix Computations), sec. 10.1; arXiv:2303.01486 of plasticity",
    invariant=("units",),
)
def hessian_top(
    hvp: Callable[[Directions], Directions], weights: Directions, rng: torch.Generator, *, steps: PositiveInt = 50
) -> dict[str, float]:
    """Largest eigenvalue of the Hessian of the mean loss by all weights and biases of layers and heads.

    By Lanczos: the largest Ritz value, never above the eigenvalue beyond rounding, on the span of v, Hv, H^2 v ... of a
    random v, until it has converged. 2 over it is the learning rate at which plain gradient descent begins to diverge.

    Args:
        hvp: maps layer or head to a direction (U, I + 1) to the Hessian times it, shaped alike; frozen ones missing.
        weights: layer or head to (U, I + 1); for the shapes.
        rng: of the random directions.
        steps: at most so many products with the Hessian, each about two backward passes.

    >>> hessian_top(lambda v: {"hidden0": 3.0 * v["hidden0"]}, {"hidden0": torch.ones(1, 1)}, torch.Generator())
    {'network': 3.0}
    """
    flat = torch.cat([w.flatten() for w in weights.values()])
    start = torch.randn(flat.shape, generator=rng, dtype=torch.float64).to(flat.device)
    return {"network": largest_ritz_value(lambda v: _product(hvp, weights, v), start, steps)}


def largest_ritz_value(product: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> float:
    """Return the largest eigenvalue of a symmetric map on the Krylov space of `start`; NaN if the map is not finite.

    The space grows until its eigenvector is one of the map to within `RESIDUAL`, so that its eigenvalue is one to the
    square of that over the relative gap to the next (the bound of Kato and Temple).

    Args:
        product: the map, (p,) to (p,).
        start: (p,), not zero.
        steps: largest dimension of the space.

    >>> largest_ritz_value(lambda v: 2 * v, torch.ones(4, dtype=torch.float64), steps=5)
    2.0
    """
    basis, images = (start / start.norm())[None], start.new_empty(0, len(start))
    while True:
        images = torch.cat([images, product(basis[-1])[None]])
        projected = basis @ images.T
        if not projected.isfinite().all():
            return math.nan
        values, vectors = torch.linalg.eigh(projected)
        rest = images[-1] - basis.T @ projected[:, -1]
        rest = rest - basis.T @ (basis @ rest)  # once more: rounding has left a little of the basis in it
        if len(basis) == steps or rest.norm() * vectors[-1, -1].abs() <= RESIDUAL * values[-1].abs():
            return float(values[-1].item())
        basis = torch.cat([basis, rest[None] / rest.norm()])


def _product(hvp: Callable[[Directions], Directions], like: Directions, flat: Tensor) -> Tensor:
    """Return `hvp` as a map of flat vectors, doubles."""
    parts = torch.split(flat, [w.numel() for w in like.values()])
    turned = hvp({name: part.view_as(w).to(w.dtype) for (name, w), part in zip(like.items(), parts, strict=True)})
    return torch.cat([turned.get(name, torch.zeros_like(w)).flatten().double() for name, w in like.items()])
