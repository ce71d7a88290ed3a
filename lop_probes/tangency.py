"""Tangency: whether the gradient leads off the manifold of a partition into clones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lopgym.bounds import Fraction
from lopgym.probes import register
from lopgym.probes.clones import FROZEN, THRESHOLD
from lopgym.probes.cloning_r2 import Partition, labels_of
from lopgym.probes.wiring import Outgoing, column_labels, sources


def block_means(matrix: Tensor, labels: Tensor) -> Tensor:
    """Replace each row by the mean of the rows that have its label, in doubles.

    >>> block_means(torch.tensor([[1.0], [5.0], [3.0]]), torch.tensor([0, 1, 0]))
    tensor([[2.],
            [5.],
            [2.]], dtype=torch.float64)
    """
    sums = torch.zeros(int(labels.max()) + 1, matrix.shape[1], dtype=torch.float64)
    sums.index_add_(0, labels, matrix.double())
    return (sums / labels.bincount()[:, None].clamp_min(1))[labels]


def normal_part(
    matrices: Mapping[str, Tensor], labels: Mapping[str, Tensor], outgoing: Outgoing, channels: Mapping[str, int]
) -> dict[str, Tensor]:
    """Return P_N m: what of each matrix is normal to the affine clone manifold, arXiv:2510.00304's appendix.

    P_T replaces each block, of the rows of one cluster and the columns that read another, by its mean; P_N = 1 - P_T.
    Convolutions of several groups, whose columns do not read all of a layer, are left out.

    Args:
        matrices: layer or head to (U, I + 1), arranged as weights.
        labels: layer to the cluster of each unit, (U,); `FROZEN` ones are clusters of their own.
        outgoing: layer to what reads it.
        channels: layer to the numbers it returns, U, or 2 U behind an activation such as CReLU.

    >>> weights = torch.tensor([[1.0, 3.0, 0.0], [2.0, 2.0, 0.0]])
    >>> normal_part({"head": weights}, {"hidden0": torch.tensor([0, 0])}, {"hidden0": ["head"]}, {"hidden0": 2})
    {'head': tensor([[-1.,  1.,  0.],
            [ 0.,  0.,  0.]], dtype=torch.float64)}
    """
    own = {name: _distinct(given) for name, given in labels.items()}
    reads = {reader: _channel_labels(layers, own, channels) for reader, layers in sources(outgoing).items()}
    found = {}
    for name, matrix in matrices.items():
        if name in reads and len(reads[name]) > matrix.shape[1]:
            continue
        tangent = block_means(matrix, own[name]) if name in own else matrix.double()
        if name in reads:
            tangent = block_means(tangent.T, column_labels(reads[name], matrix.shape[1])).T
        found[name] = matrix.double() - tangent
    return found


@register(
    "tangency",
    bounds=(0, 1),
    cite="arXiv:2510.00304, tangency of the gradient",
    invariant=("samples", "scale", "offset"),
)
def tangency(
    loss_gradients: Mapping[str, Tensor],
    activations: Mapping[str, Tensor],
    errors: Mapping[str, Tensor],
    outgoing: Outgoing,
    *,
    partition: Partition | None = None,
    threshold: Fraction = THRESHOLD,
) -> dict[str, float]:
    """Share of the gradient's length that leads off the manifold on which clones stay clones: 0 if it is invariant.

    ||P_N g|| / ||g|| of each layer's and head's gradient, P_N as in `normal_part`. On a function-preserving equal
    split it is rounding, on an unequal one about 0.3. A network without clones reads 0 too, for its manifold is all of
    the space: read it beside `clone_fraction`. `clone_normal` looks at clones alone, and allows for their scale.

    Args:
        loss_gradients: layer or head to (U, I + 1).
        activations: layer to (B, U).
        errors: layer to (B, U).
        outgoing: layer to the names of the layers and heads that read it.
        partition: layer to a label for each unit, equal labels for supposed clones; default: the clones found.
        threshold: resemblance above which units are taken for clones, without a partition.

    >>> import torch
    >>> g, h = {"hidden0": torch.tensor([[4.0, 0.0], [2.0, 4.0]])}, {"hidden0": torch.ones(1, 2)}
    >>> tangency(g, h, h, {"hidden0": ()}, partition={"hidden0": [0, 0]})  # normal: 1, -2, -1 and 2 of 4, 2 and 4
    {'hidden0': 0.5270462766947299}
    """
    labels = labels_of(activations, errors, partition, threshold)
    unit = {
        name: g.double() / g.abs().amax().clamp_min(torch.finfo(g.dtype).tiny) for name, g in loss_gradients.items()
    }
    normal = normal_part(unit, labels, outgoing, {name: h.shape[1] for name, h in activations.items()})
    return {name: (off.norm() / unit[name].norm()).item() if off.any() else 0.0 for name, off in normal.items()}


def _distinct(labels: Tensor) -> Tensor:
    """Give each frozen unit a label of its own."""
    return torch.where(labels == FROZEN, labels.max() + 1 + torch.arange(len(labels)), labels)


def _channel_labels(layers: list[str], labels: Mapping[str, Tensor], channels: Mapping[str, int]) -> Tensor:
    """Label the numbers that `layers` return, side by side: alike within a cluster and a half of its activation."""
    found, used = [], 0
    for layer in layers:
        own = labels.get(layer, torch.arange(channels[layer]))
        clusters, halves = int(own.max()) + 1, channels[layer] // len(own)
        found.append((own + clusters * torch.arange(halves)[:, None]).flatten() + used)
        used += clusters * halves
    return torch.cat(found)
