"""PCA rank: how many singular values carry nearly all of their squares."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.bounds import Fraction
from lopgym.probes import register
from lopgym.probes.srank import srank


@register(
    "pca_rank",
    bounds=(0, float("inf")),
    cite="arXiv:1909.12255 sec. 2, the approximate rank; of features arXiv:2405.00662 sec. 2",
    invariant=("units", "samples", "scale"),
)
def pca_rank(singular_values: Mapping[str, Tensor], *, delta: Fraction = 0.01) -> dict[str, float]:
    """Number of singular values of a layer's activations that carry nearly all of their energy.

    The least k with sum_{i<=k} sigma_i^2 >= (1 - delta) sum_i sigma_i^2, sigma falling: `srank` of the squares. Despite
    the name the activations (B, U) are not centred, as in the paper. A dead layer has rank 0.

    Args:
        singular_values: layer to (min(B, U),), falling.
        delta: share of the energy that may be left out.

    >>> import torch
    >>> pca_rank({"hidden0": torch.tensor([99.0, 9.0, 1.0]), "hidden1": torch.zeros(3)})  # 9801 of 9883 are 99.2 %
    {'hidden0': 1.0, 'hidden1': 0.0}
    """
    return srank({name: sigma.double().square() for name, sigma in singular_values.items()}, delta=delta)
