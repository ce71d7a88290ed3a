"""Escape rate: how fast a unit's clones would part, if it were split in two."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lopgym.bounds import PositiveInt
from lopgym.probes import register
from lopgym.probes.wiring import Outgoing


def escape_rates(
    inputs: Tensor, derivatives: Tensor, errors: Tensor, curvatures: Tensor | None = None, *, steps: int = 10
) -> Tensor:
    """Return each unit's escape rate, (U,): -lambda_min of the Hessian across the manifold on which it has a clone.

    Split unit u in two that share its outgoing weights equally. Against each other they can move in their incoming
    weights and in their outgoing ones, and no other direction couples to that. The Hessian there is
    B_u = [[A_u, M_u], [M_u^T, 0]] with M_u = E[f'(z_u) x g^T] and A_u = E[delta_u f''(z_u) x x^T] / 2: x the layer's
    inputs, g the errors of what reads it, delta_u the signal, of which each clone gets half. A zero block on the
    diagonal makes it indefinite wherever M_u != 0: a saddle, for every activation. If f is piecewise linear, A_u = 0
    and the rate is M_u's largest singular value. Nothing is split for it: one backward pass gives all units' rates.

    Args:
        inputs: x, (B, I + 1).
        derivatives: f'(z), (B, U).
        errors: g, (B, K).
        curvatures: delta_u f''(z_u), delta being the derivative of the loss by the activation, (B, U); default 0.
        steps: of Lanczos' iteration; exact from min(K, I + 1) on, or K + I + 1 with curvatures, but for rounding.

    >>> x, g = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0], [2.0]])
    >>> escape_rates(x, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), g)  # of M = (3, 4) / 2 and of 0
    tensor([2.5000, 0.0000], dtype=torch.float64)
    """
    x, slopes, g = inputs.double(), derivatives.double(), errors.double()
    units = slopes.shape[1]

    def across(v: Tensor) -> Tensor:  # M_u v_u for all units at once, without ever forming an M_u
        return x.T @ (slopes * (g @ v)) / len(x)

    def back(v: Tensor) -> Tensor:
        return g.T @ (slopes * (x @ v)) / len(x)

    if curvatures is None:
        return _greatest(lambda v: back(across(v)), g.shape[1], units, steps).clamp_min(0).sqrt()
    bend = curvatures.double() / 2

    def falling(v: Tensor) -> Tensor:
        coming, going = v[: x.shape[1]], v[x.shape[1] :]
        return -torch.cat([x.T @ (bend * (x @ coming)) / len(x) + across(going), back(coming)])

    return _greatest(falling, x.shape[1] + g.shape[1], units, steps).clamp_min(0)


@register(
    "escape_rate",
    bounds=(0, float("inf")),
    cite="arXiv:2510.00304, stability of the manifold; B_u in closed form",
    invariant=("units", "samples"),
)
def escape_rate(
    inputs: Mapping[str, Tensor],
    derivatives: Mapping[str, Tensor],
    errors: Mapping[str, Tensor],
    outgoing: Outgoing,
    *,
    steps: PositiveInt = 10,
) -> dict[str, float]:
    """Median over a layer's units of the rate at which two clones would part, were the unit split in two.

    The largest singular value of E[f'(z_u) x g^T], see `escape_rates`: minus the least eigenvalue of the Hessian
    across the clone manifold. It is exact for piecewise-linear activations and leaves out the curvature of others, a
    few per cent for tanh. It is in loss per squared weight: times the learning rate, the growth of a small difference
    in one step of gradient descent, now. 0 is a trap: the unit is frozen, or what reads it has no error left that its
    inputs could tell.

    For linear maps that linear maps read, activations in between; other layers are left out.

    Args:
        inputs: layer to (B, I + 1).
        derivatives: layer to (B, U).
        errors: layer or head to (B, K).
        outgoing: layer to the names of the layers and heads that read it.
        steps: of Lanczos' iteration.

    >>> import torch
    >>> x, d = {"hidden0": torch.tensor([[1.0, 0.0], [0.0, 2.0]])}, {"hidden0": torch.ones(2, 1)}
    >>> escape_rate({**x, "head": torch.ones(2, 2)}, d, {"head": torch.tensor([[3.0], [2.0]])}, {"hidden0": ("head",)})
    {'hidden0': 2.5}
    """
    found = {}
    for name, slopes in derivatives.items():
        readers = [reader for reader in outgoing[name] if reader in errors]
        if readers and name in inputs and all(_reads_one_by_one(inputs.get(r), slopes) for r in readers):
            g = torch.cat([errors[reader] for reader in readers], dim=1)
            found[name] = escape_rates(inputs[name], slopes, g, steps=steps).quantile(0.5).item()
    return found


def _reads_one_by_one(inputs: Tensor | None, slopes: Tensor) -> bool:
    """Tell whether a map reads each unit once: not the places of a kernel or an image, nor two halves."""
    return inputs is not None and len(inputs) == len(slopes) and 0 <= inputs.shape[1] - slopes.shape[1] <= 1


def _greatest(apply: Callable[[Tensor], Tensor], size: int, units: int, steps: int) -> Tensor:
    """Return the largest eigenvalue of each unit's symmetric map, (U,), by Lanczos' iteration on all at once.

    Args:
        apply: (size, U) to (size, U), column by column.
        size: of the space.
        units: U.
        steps: dimensions of the Krylov space; a unit whose space is exhausted before goes on with zeros.
    """
    steps = min(steps, size)
    start = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis = torch.zeros(steps, size, units, dtype=torch.float64)
    basis[0] = (start / start.norm())[:, None]
    projected = torch.zeros(units, steps, steps, dtype=torch.float64)
    for step in range(steps):
        w = apply(basis[step])
        size_before = w.norm(dim=0)
        for _ in range(2):  # twice is enough to stay orthogonal
            overlaps = torch.einsum("msu,su->mu", basis[: step + 1], w)
            projected[:, step, step] += overlaps[step]
            w = w - torch.einsum("msu,mu->su", basis[: step + 1], overlaps)
        left = w.norm(dim=0)
        if step + 1 < steps:
            left = left.where(left > 1e-12 * size_before, 0.0)
            basis[step + 1] = torch.where(left > 0, w / left, 0.0)
            projected[:, step, step + 1] = projected[:, step + 1, step] = left
    rising: Tensor = torch.linalg.eigvalsh(projected)
    return rising[:, -1]
