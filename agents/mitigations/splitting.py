"""Splitting: in which direction the clones of a layer part, and how fast, from one pass of the loss.

Clones u of one cluster, moved by a_u in their incoming weights and by b_u in their outgoing ones, sum_u a_u = 0 and
sum_u b_u = 0, change the loss by sum_u a_u^T M b_u to second order, M = E[f'(z) x g^T] for each of them: x what they
read, g the errors of what reads them (see `lopgym.probes.escape_rate`, whose M this is, for piecewise linear units).
Gradient descent then does a <- a - eta M b and b <- b - eta M^T a. From any a with b = -M^T a / r, where
r = ||M^T a|| / ||a||, the split grows at least by the factor 1 + eta r in every step, M being what it is: r is
Rayleigh's quotient of that direction and (1 + eta r)^2n is convex in r.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lopgym.agents.initialisers import Affine, bias_of
from lopgym.agents.mitigations.columns import pack, unpack
from lopgym.agents.mitigations.witness import Witness
from lopgym.agents.network import Layer
from lopgym.probes import matrices
from lopgym.probes.slopes import output_slopes


@dataclass(frozen=True)
class Split:
    """A direction of unit length for each cluster, and the rate at which it grows.

    Args:
        incoming: (U, I + 1), weights beside bias.
        outgoing: (U, W), as `columns.pack` lays them out.
        rates: of each unit's cluster, (U,); 0 where the loss asks for nothing.
    """

    incoming: Tensor
    outgoing: Tensor
    rates: Tensor


class Clusters:
    """Sums and differences within clusters.

    Args:
        labels: the cluster of each unit, (U,).
        clones: units that share theirs with another, bool (U,).
    """

    def __init__(self, labels: Tensor, clones: Tensor) -> None:
        """Note who belongs together."""
        self._together = ((labels == labels[:, None]) & clones & clones[:, None]).double()
        self.clones = clones

    def sums(self, values: Tensor) -> Tensor:
        """Return for each unit the sum of `values` (U,) over its cluster; 0 for units without clones."""
        return self._together.to(values) @ values

    def apart(self, matrix: Tensor) -> Tensor:
        """Return what of each row differs from its cluster's mean; 0 for units without clones: (U, ...)."""
        shares = self._together / self._together.sum(dim=1, keepdim=True).clamp_min(1)
        return torch.where(self.clones[:, None], matrix - shares.to(matrix) @ matrix, 0.0)


class Coupling:
    """The maps b_u -> M_u b_u and a_u -> M_u^T a_u of all units of a layer at once, without ever forming an M_u.

    Args:
        layer: not normed, and read directly.
        heard: a pass that the agent learned from; its gradients are of the mean loss.
        halves: numbers that the activation returns for each unit.
    """

    def __init__(self, layer: Layer, heard: Witness, halves: int) -> None:
        """Compute the slopes."""
        self._layer, self._heard, self._halves = layer, heard, halves
        self._slopes = output_slopes(layer.activation, heard.given[layer.activation])

    def across(self, outgoing: Tensor) -> Tensor:
        """Map (U, W) to (U, I + 1)."""
        weights = unpack(outgoing, [m.weight for m in self._layer.outgoing], self._halves)
        module = self._layer.incoming
        at = [torch.zeros_like(p, requires_grad=True) for p in (module.weight, bias_of(module))]
        return matrices.beside(self._slope(lambda: self._loss(at, weights), at))

    def back(self, incoming: Tensor) -> Tensor:
        """Map (U, I + 1) to (U, W)."""
        module = self._layer.incoming
        parts = matrices.apart(incoming, [module.weight, bias_of(module)])
        at = [torch.zeros_like(m.weight, requires_grad=True) for m in self._layer.outgoing]
        return pack(self._slope(lambda: self._loss(parts, at), at), len(module.weight), self._halves)

    def _loss(self, incoming: Sequence[Tensor], outgoing: Sequence[Tensor]) -> Tensor:
        """Return sum_u a_u^T M_u b_u."""
        layer, heard = self._layer, self._heard
        moved = _affine(layer.incoming, heard.given[layer.incoming], *incoming)
        said = torch.cat([moved] * self._halves, dim=1) * self._slopes
        read = [_affine(module, said, weight, None) for module, weight in zip(layer.outgoing, outgoing, strict=True)]
        asked = [heard.asked[module] for module in layer.outgoing]
        return torch.stack([(g * z).sum() for g, z in zip(asked, read, strict=True)]).sum()

    def _slope(self, loss: Callable[[], Tensor], at: Sequence[Tensor]) -> Sequence[Tensor]:
        with torch.enable_grad():
            found: Sequence[Tensor] = torch.autograd.grad(loss(), at)
        return found


def split(coupling: Coupling, clusters: Clusters, noise: tuple[Tensor, Tensor]) -> Split:
    """Return a random direction in which the clones of each cluster part, coloured by how fast they do.

    Incoming weights take M times noise, so that fast directions prevail, outgoing ones what grows with it. Where the
    loss asks for nothing, M = 0, incoming weights take noise, and outgoing ones stay.

    Args:
        coupling: of the layer.
        clusters: of its units.
        noise: standard normal numbers, (U, I + 1) and (U, W).
    """
    plain = clusters.apart(noise[0])
    coloured = clusters.apart(coupling.across(clusters.apart(noise[1])))
    size = clusters.sums(coloured.square().sum(dim=1)).sqrt()
    incoming = torch.where(size[:, None] > 0, coloured, plain)
    partner = clusters.apart(coupling.back(incoming))
    length = clusters.sums(incoming.square().sum(dim=1)).sqrt()
    told = clusters.sums(partner.square().sum(dim=1)).sqrt()
    rates = torch.where(length > 0, told / length, 0.0)
    outgoing = torch.where(rates[:, None] > 0, -partner / rates[:, None], 0.0)
    whole = clusters.sums(incoming.square().sum(dim=1) + outgoing.square().sum(dim=1)).sqrt()[:, None]
    tiny = torch.finfo(whole.dtype).tiny
    return Split(incoming / whole.clamp_min(tiny), outgoing / whole.clamp_min(tiny), rates)


def _affine(module: Affine, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if isinstance(module, nn.Conv2d):
        convolved: Tensor = module._conv_forward(x, weight, bias)
        return convolved
    return functional.linear(x.flatten(1), weight, bias)
