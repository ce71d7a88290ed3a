"""Waking: the smallest shift of a silent unit's incoming weights and bias that makes it say something again."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MARGIN = 0.01  # what a woken unit says at least where it was to be woken, in mean distances from its threshold


def nearest_rows(inputs: Tensor, weights: Tensor, share: float) -> Tensor:
    """Return, of the share of samples on which a silent unit is nearest to speaking, the rows where it is, (n, I + 1).

    Nearest in weights: z_b = 0 takes a change of length |z_b| / ||x_b||. No shift of less than the n-th of these
    distances makes the unit speak on n samples. Of a sample's places, the nearest counts.

    Args:
        inputs: x, (B, P, I + 1), the last column 1.
        weights: of the unit, (I + 1,).
        share: of the samples; n is rounded up.
    """
    distances = (inputs @ weights).abs() / inputs.norm(dim=2)
    nearest, places = distances.min(dim=1)
    samples = nearest.argsort(stable=True)[: math.ceil(share * len(inputs))]
    return inputs[samples, places[samples]]


def waking_shift(rows: Tensor, weights: Tensor) -> Tensor:
    """Return the shortest change of a silent unit's weights at which it speaks on all `rows`, (I + 1,).

    min ||v|| such that x_b (w + v) >= m for all b, m being `MARGIN` times the mean of |x_b w|.

    Args:
        rows: x_b, (n, I + 1), the last column 1, so that there is a solution: the bias alone can do it.
        weights: w, (I + 1,), with x_b w <= 0.

    >>> waking_shift(torch.tensor([[3.0, 4.0, 1.0]]).double(), torch.tensor([0.0, 0.0, -26.0]).double())
    tensor([3.0300, 4.0400, 1.0100], dtype=torch.float64)
    """
    silent = -(rows @ weights)
    scale = silent.mean()
    return least_norm(rows, silent + MARGIN * (scale if scale > 0 else torch.ones_like(scale)))


def least_norm(rows: Tensor, least: Tensor) -> Tensor:
    """Return the shortest v with rows v >= least, both doubles, where least = rows u for some u: a projection.

    The dual is a non-negative least-squares problem, v = rows^T l, solved exactly by active sets (Lawson and Hanson
    1974, doi:10.1137/1.9781611971217, algorithm NNLS): of the constraints that v violates, the worst joins; those
    whose multiplier would turn negative leave.

    >>> least_norm(torch.tensor([[1.0, 0.0], [1.0, 1.0]]).double(), torch.tensor([1.0, 3.0]).double())
    tensor([1.5000, 1.5000], dtype=torch.float64)
    """
    lengths = rows.norm(dim=1)
    unit, wanted = rows / lengths[:, None], least / lengths
    gram, rounding = unit @ unit.T, 1e-10 * float(wanted.abs().max())
    multipliers, active = torch.zeros_like(wanted), torch.zeros(len(wanted), dtype=torch.bool)
    for _ in range(3 * len(wanted)):
        missing = (wanted - gram @ multipliers).masked_fill(active, -math.inf)
        if missing.max() <= rounding:
            break
        active[missing.argmax()] = True
        multipliers = _balance(gram, wanted, multipliers, active)
    shift: Tensor = unit.T @ multipliers
    short = (wanted / (unit @ shift).clamp_min(torch.finfo(shift.dtype).tiny)).max()
    shift *= short.clamp(1.0, 1.0 + 1e-6)  # rounding may leave a constraint just short
    return shift


def _balance(gram: Tensor, wanted: Tensor, multipliers: Tensor, active: Tensor) -> Tensor:
    """Meet the active constraints exactly; those whose multipliers would turn negative on the way leave `active`."""
    while bool(active.any()):
        aimed = torch.zeros_like(multipliers)
        among = gram[active][:, active]
        aimed[active] = torch.linalg.lstsq(among, wanted[active][:, None], driver="gelsd").solution[:, 0]
        leaving = active & (aimed <= 0)
        if not leaving.any():
            return aimed
        way = (multipliers / (multipliers - aimed).clamp_min(torch.finfo(aimed.dtype).tiny))[leaving].min()
        multipliers = multipliers + way.clamp(0, 1) * (aimed - multipliers)
        active &= multipliers > 1e-14 * multipliers.max()
        multipliers = multipliers.where(active, 0.0)
    return multipliers
