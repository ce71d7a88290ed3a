"""Distance to clones: how far the two units nearest to being exact clones are from it, in weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, inf

from lopgym.probes import register
from lopgym.probes.wiring import Outgoing, own_weights


@register(
    "distance_to_clones",
    bounds=(0, 1),
    cite="arXiv:2510.00304, clone manifold",
    invariant=("units", "samples", "scale", "offset"),
)
def distance_to_clones(
    weights: Mapping[str, Tensor], activations: Mapping[str, Tensor], outgoing: Outgoing
) -> dict[str, float]:
    """Distance of a layer's weights to the nearest manifold of two exact clones, relative to the weights of the two.

    min over units u, v of (||w_u - w_v||^2 / 2)^(1/2) / (||w_u||^2 + ||w_v||^2)^(1/2): the length of the least change
    that makes them clones. w_u is all that belongs to u, incoming weights, bias and outgoing weights. 0 is on the
    manifold, 2^(-1/2) at right angles, as far as a wide fresh layer is; 1 are opposites, or the only unit there is.

    Args:
        weights: layer or head to (U, I + 1).
        activations: layer to (B, U).
        outgoing: layer to the names of the layers and heads that read it.

    >>> import torch
    >>> w = {"hidden0": torch.tensor([[1.0, 1.0, 0.0], [-9.0, 1.0, 0.0], [1.0, 1.0, 2.0]])}
    >>> distance_to_clones(w, {"hidden0": torch.zeros(1, 3)}, {"hidden0": ()})  # the first and last: 4 / 2 of 2 + 6
    {'hidden0': 0.5}
    """
    own = own_weights(weights, {name: h.shape[1] for name, h in activations.items()}, outgoing)
    return {name: _least_distance(units.double()) for name, units in own.items()}


def _least_distance(units: Tensor) -> float:
    """Return the least relative distance between rows (U, W), the nearest pair's without cancellation."""
    if len(units) < 2:
        return 1.0
    units = units / units.abs().amax().clamp_min(torch.finfo(torch.float64).tiny)
    squares = units.square().sum(dim=1)
    sums = squares + squares[:, None]
    likeness = torch.where(sums > 0, 2 * units @ units.T / sums, 1.0).fill_diagonal_(-inf)
    u, v = divmod(int(likeness.argmax()), len(units))
    apart: Tensor = (units[u] - units[v]).norm() / (2 * sums[u, v].clamp_min(torch.finfo(torch.float64).tiny)).sqrt()
    return apart.item()
