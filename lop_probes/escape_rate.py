"""Escape rate: how fast a unit's clones would part, if it were split in two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lopgym.bounds import PositiveInt
from lopgym.probes import register
from lopgym.probes.wiring import Outgoing, sources


def escape_rates(
    inputs: Tensor,
    derivatives: Tensor,
    errors: Tensor,
    curvatures: Tensor | None = None,
    *,
    halves: int = 1,
    steps: int = 10,
) -> Tensor:
    """Return each unit's escape rate, (U,): -lambda_min of the Hessian across the manifold on which it has a clone.

    Split unit u in two that share its outgoing weights equally. Against each other they can move in their incoming
    weights and in their outgoing ones, and no other direction couples to that. The Hessian there is
    B_u = [[A_u, M_u], [M_u^T, 0]] with M_u = E[f'(z_u) x g^T] and A_u = E[delta_u f''(z_u) x x^T] / 2: x the layer's
    inputs, g the errors of what reads it, delta_u the signal, of which each clone gets half. A zero block on the
    diagonal makes it indefinite wherever M_u != 0: a saddle, for every activation. If f is piecewise linear, A_u = 0
    and the rate is M_u's largest singular value. Nothing is split for it: one backward pass gives all units' rates.

    Where a unit is read in several places p, as of an image that is flattened, or in two halves, as of CReLU, it has
    outgoing weights for each: M_u has columns for every place, half and reader, M_u = E[f'(z_up) x_p g^T] side by
    side, and A_u is the sum over places and halves.

    Args:
        inputs: x, (B P, I + 1), the places of a sample one after another.
        derivatives: f'(z), (B P, U), or (B P, 2 U) of two halves side by side.
        errors: g, (B, K).
        curvatures: delta_u f''(z_u), delta being the derivative of the loss by the activation, shaped like
            `derivatives`; default 0.
        halves: numbers that the activation returns for each unit.
        steps: of Lanczos' iteration, twice as many with curvatures, where either sign is to be told apart; exact from
            the smaller of I + 1 and K on, or half their sum with curvatures, but for rounding.

    >>> x, g = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0], [2.0]])
    >>> escape_rates(x, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), g)  # of M = (3, 4) / 2 and of 0
    tensor([2.5000, 0.0000], dtype=torch.float64)
    """
    x, g = inputs.double(), errors.double()
    slopes = derivatives.double().reshape(len(x), halves, -1)
    units, coming = slopes.shape[2], x.shape[1]
    going = g.shape[1] * len(x) // len(g) * halves

    def across(v: Tensor) -> Tensor:  # M_u v_u for all units at once, without ever forming an M_u
        told = (g @ v.reshape(g.shape[1], -1)).reshape(slopes.shape)
        return x.T @ (slopes * told).sum(dim=1) / len(g)

    def back(v: Tensor) -> Tensor:
        moved = slopes * (x @ v)[:, None]
        return (g.T @ moved.reshape(len(g), -1)).reshape(-1, units) / len(g)

    if curvatures is None or not curvatures.any():
        once = going == g.shape[1]  # else the outgoing side is wide
        squared = _greatest(
            lambda v: back(across(v)) if once else across(back(v)), going if once else coming, units, steps
        )
        return squared.clamp_min(0).sqrt()
    bend = curvatures.double().reshape(slopes.shape).sum(dim=1) / 2

    def falling(v: Tensor) -> Tensor:
        a, c = v[:coming], v[coming:]
        return -torch.cat([x.T @ (bend * (x @ a)) / len(g) + across(c), back(a)])

    return _greatest(falling, coming + going, units, 2 * steps).clamp_min(0)


@register(
    "escape_rate",
    bounds=(0, float("inf")),
    cite="arXiv:2510.00304, stability of the manifold; B_u in closed form",
    invariant=("units", "samples"),
)
def escape_rate(
    inputs: Mapping[str, Tensor],
    output_derivatives: Mapping[str, Tensor],
    curvatures: Mapping[str, Tensor],
    signals: Mapping[str, Tensor],
    errors: Mapping[str, Tensor],
    observations: Tensor,
    outgoing: Outgoing,
    direct: Sequence[str],
    *,
    steps: PositiveInt = 10,
) -> dict[str, float]:
    """Median over a layer's units of the rate at which two clones would part, were the unit split in two.

    Minus the least eigenvalue of the Hessian across the clone manifold, B_u of `escape_rates`: the largest singular
    value of E[f'(z_u) x g^T] where the activation is piecewise linear. It is in loss per squared weight: times the
    learning rate, the growth of a small difference in one step of gradient descent, now. 0 is a trap: the unit is
    frozen, or what reads it has no error left that its inputs could tell.

    For linear maps and convolutions that linear maps read, flattened or in halves, activations alone in between. Left
    out are layers behind a norm, whose statistics a single clone would shift, and convolutions that a convolution with
    a larger kernel than 1 reads, whose places overlap.

    Args:
        inputs: layer to (B, I + 1).
        output_derivatives: layer to (B, U).
        curvatures: layer to (B, U).
        signals: layer to (B, U).
        errors: layer or head to (B, K).
        observations: (B, ...).
        outgoing: layer to the names of the layers and heads that read it.
        direct: layers without a norm.
        steps: of Lanczos' iteration.

    >>> import torch
    >>> x, d = {"hidden0": torch.tensor([[1.0, 0.0], [0.0, 2.0]])}, {"hidden0": torch.ones(2, 1)}
    >>> bends, g = {"hidden0": torch.zeros(2, 1)}, {**d, "head": torch.tensor([[3.0], [2.0]])}
    >>> reads = {"hidden0": ("head",)}, ("hidden0",)
    >>> escape_rate({**x, "head": torch.ones(2, 2)}, d, bends, d, g, torch.zeros(2, 2), *reads)
    {'hidden0': 2.5}
    """
    reads, found = sources(outgoing), {}
    channels = {name: slopes.shape[1] for name, slopes in output_derivatives.items()}
    for name in direct:
        rows, readers = len(inputs[name]), [reader for reader in outgoing[name] if reader in errors]
        widths = {reader: sum(channels[layer] for layer in reads[reader]) for reader in readers}
        if readers and all(_reads_apart(inputs.get(r), w, rows, len(observations)) for r, w in widths.items()):
            g = torch.cat([errors[reader] for reader in readers], dim=1)
            rates = escape_rates(
                inputs[name],
                output_derivatives[name],
                g,
                signals[name].double() * curvatures[name],
                halves=channels[name] // errors[name].shape[1],
                steps=steps,
            )
            found[name] = rates.quantile(0.5).item() * len(g) / len(observations)
    return found


def _reads_apart(inputs: Tensor | None, channels: int, rows: int, samples: int) -> bool:
    """Tell whether a map has a column of its own for every place and channel, so that each is read once.

    Args:
        inputs: of the map, (B', I + 1); None if they are unknown.
        channels: of all layers that it reads, together.
        rows: places of all samples of the layer in question.
        samples: B.
    """
    if inputs is None or rows % len(inputs) or (rows > len(inputs) != samples):
        return False
    return inputs.shape[1] - channels * (rows // len(inputs)) in (0, 1)


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
