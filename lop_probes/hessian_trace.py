"""Trace of the Hessian: how much the loss curves in all directions together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lopgym.bounds import PositiveInt
from lopgym.probes import register

Directions = Mapping[str, Tensor]


@register(
    "hessian_trace",
    bounds=(-float("inf"), float("inf")),
    cite="Hutchinson 1990 (Commun. Stat. Simul. 19); of networks arXiv:1912.07145",
    invariant=(),
)
def hessian_trace(
    hvp: Callable[[Directions], Directions], weights: Directions, rng: torch.Generator, *, draws: PositiveInt = 10
) -> dict[str, float]:
    """Trace of the Hessian of the mean loss by each layer's weights and biases, estimated.

    Hutchinson: the mean of v_l^T (H v)_l over random signs v of all parameters, unbiased for the trace of the layer's
    diagonal block, exact where H is diagonal; the network's trace is the sum over layers.

    Args:
        hvp: maps layer or head to a direction (U, I + 1) to the Hessian times it, shaped alike; frozen ones missing.
        weights: layer or head to (U, I + 1); for the shapes.
        rng: of the random directions.
        draws: products with the Hessian, each about two backward passes.

    >>> curved = {"hidden0": torch.tensor([[3.0, -5.0], [2.0, 1.0]])}
    >>> hessian_trace(lambda v: {"hidden0": curved["hidden0"] * v["hidden0"]}, curved, torch.Generator())
    {'hidden0': 1.0}
    """
    totals: dict[str, float] = {}
    for _ in range(draws):
        signs = {name: _signs(w, rng) for name, w in weights.items()}
        for name, turned in hvp(signs).items():
            curvature = (signs[name].double() * turned.double()).sum().item()
            totals[name] = totals.get(name, 0.0) + curvature
    return {name: total / draws for name, total in totals.items()}


def _signs(like: Tensor, rng: torch.Generator) -> Tensor:
    return (2 * torch.randint(2, like.shape, generator=rng) - 1).to(like)
