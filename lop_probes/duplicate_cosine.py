"""Duplicate units by the cosine of their activations, offset and all."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.bounds import Fraction
from lopgym.probes import register
from lopgym.probes.duplicate import share_with_twin


@register(
    "duplicate_cosine_fraction",
    bounds=(0, 1),
    cite="arXiv:2510.00304, the authors' metrics.py",
    invariant=("units", "samples", "scale", "unit scale"),
)
def duplicate_cosine_fraction(cosines: Mapping[str, Tensor], *, threshold: Fraction = 0.95) -> dict[str, float]:
    """Share of units that point the same way as another unit of their layer, by the authors' uncentred cosine.

    Any two units with a large positive mean are duplicates by this measure, whatever they say about the input: read
    `duplicate_fraction` first. Both units of a pair count; the authors' code counts one of them. Zero units have none.

    Args:
        cosines: layer to (U, U).
        threshold: cosine above which two units are duplicates.

    >>> import torch
    >>> duplicate_cosine_fraction({"hidden0": torch.tensor([[1.0, 0.96, 0], [0.96, 1.0, 0], [0, 0, 0]])})
    {'hidden0': 0.6666666666666666}
    """
    return {name: share_with_twin(c, threshold) for name, c in cosines.items()}
