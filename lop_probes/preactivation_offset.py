"""Pre-activation offset: how far off centre a layer's units work."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, inf

from lopgym.probes import matrices, register


@register(
    "preactivation_offset",
    bounds=(-inf, inf),
    cite="arXiv:2510.00304, scale and shift of pre-activations",
    invariant=("units", "samples", "scale", "unit scale"),
)
def preactivation_offset(pre_activations: Mapping[str, Tensor]) -> dict[str, float]:
    """Median over a layer's units of mean / standard deviation of the pre-activation over the batch.

    mu_z / sigma_z. A ReLU whose offset falls below about -2 is silent on nearly every input and about to die. Units
    whose pre-activation is constant are left out; 0 where all are.

    Args:
        pre_activations: layer to (B, U).

    >>> import torch
    >>> preactivation_offset({"hidden0": torch.tensor([[-3.0, 5.0], [-1.0, 5.0]])})
    {'hidden0': -2.0}
    """
    return {name: _median_offset(z.double()) for name, z in pre_activations.items()}


def _median_offset(z: Tensor) -> float:
    means, spreads = z.mean(dim=0), z.std(dim=0, correction=0)
    varying = spreads > matrices.CONSTANT * means.abs()
    return (means / spreads)[varying].quantile(0.5).item() if varying.any() else 0.0
