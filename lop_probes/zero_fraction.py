"""Zero fraction: how sparse a layer's activations are."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.probes import register


@register(
    "zero_fraction",
    bounds=(0, 1),
    cite="arXiv:2405.19153, where it is called dead units",
    invariant=("units", "samples", "scale", "unit scale"),
)
def zero_fraction(activations: Mapping[str, Tensor]) -> dict[str, float]:
    """Share of a layer's activations, over all units and samples, that are exactly zero.

    1/(BU) sum_bu 1[h_bu = 0]. It counts entries, not units: a fresh ReLU layer is near 1/2 without a dead unit in it,
    and one whose units take turns is as sparse as one half of whose units are dead. `dead_fraction` tells them apart.

    Args:
        activations: layer to (B, U).

    >>> import torch
    >>> zero_fraction({"hidden0": torch.tensor([[0.0, 1.0], [0.0, 0.0]])})
    {'hidden0': 0.75}
    """
    return {name: (h == 0).double().mean().item() for name, h in activations.items()}
