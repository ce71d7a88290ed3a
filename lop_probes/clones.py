"""Clones: units that say the same and are told the same, so that one gradient moves them all alike."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lopgym.bounds import Fraction
from lopgym.probes import matrices, register
from lopgym.probes.averages import means

FROZEN = -1  # label of units that do not vary, or that no error reaches
THRESHOLD = 0.95


def per_unit(values: Tensor, units: int) -> Tensor:
    """Lay out values (B, k U) with a column for each unit: (k B, U). k is 2 after an activation such as CReLU, else 1.

    >>> per_unit(torch.tensor([[1, 2, -1, -2]]), 2)
    tensor([[ 1,  2],
            [-1, -2]])
    """
    return values.reshape(-1, units)


def resemblance(activations: Tensor, errors: Tensor) -> Tensor:
    """Return how far units are clones of one another, (U, U): C_uv = min(corr(h_u, h_v), cos(e_u, e_v)).

    1 if v says the same as u up to an offset and a positive factor, and is told the same up to another. The diagonal
    is 1 for live units. Of frozen ones, whose activation does not vary or whose error is zero, all entries are 0.

    Args:
        activations: h, (B, U); (B, 2 U) of an activation that concatenates.
        errors: e, derivatives of the loss by the pre-activations, (B, U).

    >>> h, e = torch.tensor([[0.0, 1.0, 5.0], [1.0, 3.0, 5.0]]), torch.tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    >>> resemblance(h, e).round()
    tensor([[1., 1., 0.],
            [1., 1., 0.],
            [0., 0., 0.]], dtype=torch.float64)
    """
    rows = per_unit(activations, errors.shape[1])
    said = matrices.cosines(matrices.covariances(matrices.gram(rows), means(rows), len(rows)))
    told = matrices.cosines(matrices.gram(errors))
    live = (said.diagonal() > 0) & (told.diagonal() > 0)
    return torch.where(live & live[:, None], torch.minimum(said, told), 0.0)


def clusters(resemblance: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Return the cluster that each unit belongs to, (U,), numbered from 0; `FROZEN` units belong to none.

    Greedy leader clustering: in order of the units, one joins the first leader that it resembles by more than
    `threshold`, or else leads a cluster of its own. So all resemble their leader, and likeness does not chain.

    Args:
        resemblance: (U, U), as `resemblance` returns it.
        threshold: above it, units are clones.

    >>> c = torch.tensor([[1.0, 0.2, 0.99, 0.0], [0.2, 1.0, 0.1, 0.0], [0.99, 0.1, 1.0, 0.0], [0.0] * 4])
    >>> clusters(c)
    tensor([ 0,  1,  0, -1])
    """
    alike = (resemblance > threshold).fill_diagonal_(True)
    free = resemblance.diagonal() > 0
    labels = torch.full_like(free, FROZEN, dtype=torch.long)
    for unit in free.nonzero()[:, 0].tolist():
        if free[unit]:
            members = alike[unit] & free
            labels[members] = labels.max() + 1
            free &= ~members
    return labels


def have_clones(labels: Tensor) -> Tensor:
    """Return which units share their cluster with another, (U,).

    >>> have_clones(torch.tensor([0, 1, 0, -1, -1]))
    tensor([ True, False,  True, False, False])
    """
    alike = labels == labels[:, None]
    return (alike.sum(dim=1) > 1) & (labels != FROZEN)


@register(
    "clone_fraction",
    bounds=(0, 1),
    cite="arXiv:2510.00304, cloned units",
    invariant=("samples", "scale", "unit scale", "offset"),
)
def clone_fraction(
    activations: Mapping[str, Tensor], errors: Mapping[str, Tensor], *, threshold: Fraction = THRESHOLD
) -> dict[str, float]:
    """Share of units that are approximate clones: alike in what they say *and* in what they are told.

    The share of units that share a cluster (`clusters`) with another, by C_uv = min(Pearson's correlation of their
    activations, cosine of their errors). Duplicates by activation alone (`duplicate_fraction`) can be told apart by
    their errors, so the gradient parts them; clones it moves alike. Frozen units, which say one thing only or are told
    nothing, count as no clones. Fresh units that see few inputs and serve few outputs resemble each other too: read it
    beside fresh networks.

    Args:
        activations: layer to (B, U).
        errors: layer to (B, U).
        threshold: C above which units are clones.

    >>> import torch
    >>> h = torch.tensor([[0.0, 0.0, 3.0, 0.0], [1.0, 2.0, 0.0, 0.0]])
    >>> clone_fraction({"hidden0": h}, {"hidden0": torch.tensor([[1.0, 1.0, 2.0, 1.0]]).repeat(2, 1)})
    {'hidden0': 0.5}
    """
    return {
        name: have_clones(clusters(resemblance(h, errors[name]), threshold)).double().mean().item()
        for name, h in activations.items()
    }
