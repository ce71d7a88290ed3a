"""Backward cloning R^2: how much of what units are told their clusters of clones explain."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.bounds import Fraction
from lopgym.probes import register
from lopgym.probes.clones import THRESHOLD
from lopgym.probes.cloning_r2 import Partition, explained, labels_of


@register(
    "cloning_r2_backward", bounds=(0, 1), cite="arXiv:2510.00304, cloning R^2", invariant=("samples", "scale", "offset")
)
def cloning_r2_backward(
    activations: Mapping[str, Tensor],
    errors: Mapping[str, Tensor],
    *,
    partition: Partition | None = None,
    threshold: Fraction = THRESHOLD,
) -> dict[str, float]:
    """Share of the variance of clones' errors that is between clusters: 1 if all clones are told the same.

    `cloning_r2`'s formula of the derivatives of the loss by the pre-activations. The paper's text gives it for
    activations only; the authors' code takes both.

    Args:
        activations: layer to (B, U); to find clones.
        errors: layer to (B, U).
        partition: layer to a label for each unit, equal labels for supposed clones; default: the clones found.
        threshold: resemblance above which units are taken for clones, without a partition.

    >>> import torch
    >>> e = {"hidden0": torch.tensor([[0.0, 2.0, 5.0, 5.0]])}
    >>> cloning_r2_backward(e, e, partition={"hidden0": [0, 0, 1, 1]})
    {'hidden0': 0.8888888888888888}
    """
    found = labels_of(activations, errors, partition, threshold)
    return {name: explained(errors[name], labels) for name, labels in found.items()}
