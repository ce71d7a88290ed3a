"""Cloning R^2: how much of a layer's activity its clusters of clones explain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lopgym.bounds import Fraction
from lopgym.probes import register
from lopgym.probes.clones import THRESHOLD, clusters, have_clones, per_unit, resemblance

Partition = Mapping[str, Sequence[int]]


def explained(values: Tensor, labels: Tensor) -> float:
    """Return 1 - variance within clusters / total variance, over the units of (B, U) that share a cluster.

    Variances, each mean over samples and units: within, of a unit about the mean of its cluster on that sample; in
    total, about the mean of all of them. 1 if every cluster's units agree, 0 if no units share one.

    >>> explained(torch.tensor([[0.0, 2.0, 5.0, 5.0]]), torch.tensor([0, 0, 1, 1]))
    0.8888888888888888
    """
    chosen = have_clones(labels)
    if not chosen.any():
        return 0.0
    rows, members = values[:, chosen].double(), torch.nn.functional.one_hot(labels[chosen]).double()
    rows = rows / rows.abs().amax().clamp_min(torch.finfo(torch.float64).tiny)
    means = rows @ members / members.sum(dim=0).clamp_min(1)
    within = (rows - means @ members.T).square().mean()
    total = (rows - rows.mean(dim=1, keepdim=True)).square().mean()
    return 1 - (within / total).item() if total > 0 else 1.0


def labels_of(
    activations: Mapping[str, Tensor], errors: Mapping[str, Tensor], partition: Partition | None, threshold: float
) -> dict[str, Tensor]:
    """Return the cluster of each unit by layer: the given partition's, or those that `clusters` finds.

    Raises:
        ValueError: a layer of the partition that does not exist, or with another number of units.
    """
    if partition is None:
        return {name: clusters(resemblance(h, errors[name]), threshold) for name, h in activations.items()}
    for name, labels in partition.items():
        units = errors[name].shape[1] if name in errors else 0
        if len(labels) != units:
            raise ValueError(f"the partition labels {len(labels)} units of {name!r}, which has {units}")
    return {name: torch.tensor(labels) for name, labels in partition.items()}


@register("cloning_r2", bounds=(0, 1), cite="arXiv:2510.00304, cloning R^2", invariant=("samples", "scale"))
def cloning_r2(
    activations: Mapping[str, Tensor],
    errors: Mapping[str, Tensor],
    *,
    partition: Partition | None = None,
    threshold: Fraction = THRESHOLD,
) -> dict[str, float]:
    """Share of the variance of clones' activations that is between clusters: 1 if all clones say the same.

    1 - Var(h_u - mean of its cluster) / Var(h_u - mean of the layer), a ratio of variances as in the paper's text; the
    authors' code takes standard deviations. Only units that share a cluster count, where the paper's total is over the
    whole layer. 0 where none do.

    Args:
        activations: layer to (B, U).
        errors: layer to (B, U); to find clones.
        partition: layer to a label for each unit, equal labels for supposed clones; default: the clones found.
        threshold: resemblance above which units are taken for clones, without a partition.

    >>> import torch
    >>> h = {"hidden0": torch.tensor([[0.0, 2.0, 5.0, 5.0]])}
    >>> cloning_r2(h, h, partition={"hidden0": [0, 0, 1, 1]})
    {'hidden0': 0.8888888888888888}
    """
    found = labels_of(activations, errors, partition, threshold)
    return {name: explained(per_unit(activations[name], len(labels)), labels) for name, labels in found.items()}
