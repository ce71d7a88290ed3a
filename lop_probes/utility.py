"""Unit utility: how much a unit contributes to those that read it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lopgym.bounds import Fraction
from lopgym.probes import register
from lopgym.probes.averages import mean_magnitudes
from lopgym.probes.relative import relative_to_mean
from lopgym.probes.wiring import Outgoing, outgoing_weights, sources


def contributions(activations: Tensor, outgoing: Tensor) -> Tensor:
    """Return what each unit contributes to those that read it: E_b|h_bu| sum_k |w_ku|.

    Continual backprop's utility (doi:10.1038/s41586-024-07711-7 eq. 1), of one batch in place of a running mean.

    Args:
        activations: (B, U).
        outgoing: all weights by which each unit is read, (U, W).

    Returns:
        Contributions (U,), doubles.

    >>> contributions(torch.tensor([[1.0, -2.0], [3.0, 0.0]]), torch.tensor([[0.5, -0.5], [1.0, 2.0]]))
    tensor([2., 3.], dtype=torch.float64)
    """
    return mean_magnitudes(activations) * outgoing.abs().double().sum(dim=1)


@register(
    "utility_quantile",
    bounds=(0, float("inf")),
    cite="doi:10.1038/s41586-024-07711-7 eq. 1",
    invariant=("units", "samples", "scale"),
)
def utility_quantile(
    activations: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    outgoing: Outgoing,
    *,
    quantile: Fraction = 0.1,
) -> dict[str, float]:
    """Utility of a layer's least useful units, as a multiple of the layer's average.

    The `quantile` of `contributions` over their mean, interpolated: 1 where all units contribute alike; 0, at the
    default, where a tenth of them is silent or unread. These are the units that continual backprop replaces. A fresh
    layer is below 1 too, as its weights differ: what counts is the fall below that.

    Args:
        activations: layer to (B, U).
        weights: layer or head to (U, I + 1).
        outgoing: layer to the names of the layers and heads that read it; layers that nothing reads are left out.
        quantile: share of the units whose utility is no greater.

    Raises:
        ValueError: `outgoing` names a map whose columns do not come from the layers that it is said to read.

    >>> import torch
    >>> h, head = torch.tensor([[1.0, 1.0, 4.0]]), torch.tensor([[0.0, 1.0, -0.5, 7.0]])
    >>> utility_quantile({"hidden0": h}, {"head": head}, {"hidden0": ("head",)}, quantile=0.5)
    {'hidden0': 1.0}
    """
    read = {name: _read(name, activations, weights, outgoing) for name, readers in outgoing.items() if readers}
    utilities = {name: relative_to_mean(contributions(activations[name], w)) for name, w in read.items()}
    return {name: utility.quantile(quantile).item() for name, utility in utilities.items()}


def _read(name: str, activations: Mapping[str, Tensor], weights: Mapping[str, Tensor], outgoing: Outgoing) -> Tensor:
    """Return all weights by which each unit of a layer is read, (U, W)."""
    order, channels = sources(outgoing), {layer: h.shape[1] for layer, h in activations.items()}
    parts = []
    for reader in outgoing[name]:
        layers, columns = order[reader], weights[reader].shape[1]
        total, before = (sum(channels[layer] for layer in some) for some in (layers, layers[: layers.index(name)]))
        if columns < total or columns % total > 1:  # a column more is the bias
            raise ValueError(f"{reader} has {columns} columns, which do not fit {' and '.join(layers)}, {total} units")
        parts.append(outgoing_weights(weights[reader], channels[name], channels[name], before, total))
    return torch.cat(parts, dim=1)
