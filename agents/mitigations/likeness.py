"""Likeness: which units of a layer say the same up to a factor and an offset, and how much they differ from that."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lopgym.agents.initialisers import Affine
from lopgym.agents.mitigations.columns import by_unit
from lopgym.probes import matrices
from lopgym.probes.averages import means
from lopgym.probes.clones import clusters


@dataclass(frozen=True)
class Likeness:
    """Each unit v beside the survivor s of its cluster: h_v = factor * h_s + offset + residual.

    Args:
        survivor: number of s, (U,); a unit that has no clone survives itself.
        factors: (U,), doubles.
        offsets: (U,), doubles.
        residuals: root of the mean over samples of ||residual||^2, summed over places and halves, (U,), doubles.
    """

    survivor: Tensor
    factors: Tensor
    offsets: Tensor
    residuals: Tensor

    @property
    def clones(self) -> Tensor:
        """Which units can be released, bool (U,)."""
        return self.survivor != torch.arange(len(self.survivor), device=self.survivor.device)


def rows_of(said: Tensor, units: int) -> Tensor:
    """Lay out what an activation returned, (B, halves * U, ...), with a column for each unit, as doubles."""
    return said.reshape(len(said), -1, units, said[0, 0].numel()).movedim(2, -1).reshape(-1, units).double()


def likeness(rows: Tensor, samples: int, threshold: float, *, offsets: bool = True) -> Likeness:
    """Find clones by what they say alone, and fit each to the one of its cluster that varies most.

    Clusters are those of `lopgym.probes.clones.clusters` at Pearson's correlation above `threshold`, units taken in
    the order of falling variance, so that no factor exceeds 1. Units that do not vary are in no cluster.

    Args:
        rows: (N, U), N / B of them a sample.
        samples: B.
        threshold: correlation above which units are clones.
        offsets: fit an offset too; if not, the fit goes through the origin.

    >>> h = torch.tensor([[0.0, 0.0, 1.0], [1.0, 2.0, 1.0], [2.0, 4.0, 0.0]])
    >>> found = likeness(h, 3, 0.95)
    >>> found.survivor, found.factors
    (tensor([1, 1, 2]), tensor([0.5000, 1.0000, 1.0000], dtype=torch.float64))
    """
    products, middle = matrices.gram(rows), means(rows)
    spread = matrices.covariances(products.clone(), middle, len(rows))
    order = spread.diagonal().argsort(descending=True, stable=True)
    labels = clusters(matrices.cosines(spread)[order][:, order], threshold)
    every = torch.arange(len(order), device=order.device)
    survivor = every.clone()
    for label in range(int(labels.max()) + 1):
        members = order[labels == label]
        survivor[members] = members[0]
    moment = spread if offsets else products
    strength = moment.diagonal()[survivor]
    factors = torch.where(strength > 0, moment[every, survivor] / strength, 0.0)
    shift = (middle - factors * middle[survivor]) if offsets else torch.zeros_like(middle)
    residual = rows.double() - factors * rows.double()[:, survivor] - shift
    alone = survivor == every
    return Likeness(
        survivor,
        factors.where(~alone, 1.0),
        shift.where(~alone, 0.0),
        (residual.square().sum(dim=0) / samples).sqrt().where(~alone, 0.0),
    )


@torch.no_grad()
def move(module: Affine, like: Likeness, halves: int) -> None:
    """Let `module` read survivors in place of their clones: their weights, times the factor, are added to it."""
    weight, clones = by_unit(module.weight, len(like.survivor), halves), like.clones
    moved = weight[:, :, clones] * like.factors[clones].to(weight)[:, None]
    weight.index_add_(2, like.survivor[clones], moved)


def change_bound(module: Affine, like: Likeness, halves: int) -> float:
    """Bound what `move` and the offsets change in what `module` returns: root mean square over samples of the length.

    It changes by -sum_v W_v r_v, W_v being the weights by which v is read and r_v its residual, so by the triangle
    inequality by at most sum_v ||W_v|| rms||r_v||, in Frobenius norms; behind a single place, and of a fit with
    offset, rms r_v = std(h_v) sqrt(1 - rho_v^2). A convolution reads a place `overlap` times: times its root.
    """
    lengths = by_unit(module.weight.detach(), len(like.survivor), halves).double().square().sum((0, 1, 3)).sqrt()
    return float(lengths[like.clones] @ like.residuals[like.clones]) * math.sqrt(overlap(module))


def overlap(module: Affine) -> int:
    """Return how often a map reads each number that it is given, at most: 1 of a linear map.

    >>> overlap(torch.nn.Conv2d(1, 1, kernel_size=3, stride=2))
    4
    """
    if not isinstance(module, torch.nn.Conv2d):
        return 1
    (high, wide), (down, across) = module.kernel_size, module.stride
    return math.ceil(high / down) * math.ceil(wide / across)
