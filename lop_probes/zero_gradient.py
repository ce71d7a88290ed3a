"""Zero gradients: parameters that this batch cannot move."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.probes import register


@register(
    "zero_gradient_fraction",
    bounds=(0, 1),
    cite="arXiv:2303.07507 sec. 4.2, the l0 norm",
    invariant=("units", "scale", "unit scale"),
)
def zero_gradient_fraction(gradients: Mapping[str, Tensor]) -> dict[str, float]:
    """Share of a layer's weights and biases whose gradient is exactly zero.

    1 - ||g||_0 / p over the p parameters of a layer or head. A fresh network is above 0 where a feature of the
    observations is zero on the whole batch; what counts is the rise above that.

    Args:
        gradients: layer or head to (U, I + 1).

    >>> import torch
    >>> zero_gradient_fraction({"hidden0": torch.tensor([[0.0, 0.0], [1e-30, -2.0]])})
    {'hidden0': 0.5}
    """
    return {name: (g == 0).double().mean().item() for name, g in gradients.items()}
