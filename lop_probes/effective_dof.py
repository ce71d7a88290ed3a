"""Effective degrees of freedom: how many of a network's parameters its clones and frozen units leave to move."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.bounds import Fraction
from lopgym.probes import register
from lopgym.probes.clones import THRESHOLD, clusters, resemblance
from lopgym.probes.wiring import Outgoing, sources


@register(
    "effective_dof",
    bounds=(0, 1),
    cite="arXiv:2510.00304, dimension of the manifold",
    invariant=("samples", "scale", "unit scale", "offset"),
)
def effective_dof(
    activations: Mapping[str, Tensor],
    errors: Mapping[str, Tensor],
    inputs: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    outgoing: Outgoing,
    *,
    threshold: Fraction = THRESHOLD,
) -> dict[str, float]:
    """Share of a layer's or head's parameters that clones and frozen units leave free: 1 if there are none.

    (k_in k_out + k_out) / p: k_out of its units and k_in of its inputs are distinct and live, counting each cluster of
    clones (`clone_fraction`) once, and inputs from outside if they vary over the batch; without a bias k_in k_out / p.
    Of the network it is the mean weighted by p. A head's units all count. Outgoing weights of frozen units count as
    lost, which is true of dead units; a saturated one still serves those that read it as a second bias.

    Args:
        activations: layer to (B, U).
        errors: layer to (B, U).
        inputs: layer or head to (B, I + 1).
        weights: layer or head to (U, I + 1).
        outgoing: layer to the names of the layers and heads that read it.
        threshold: resemblance above which units are clones.

    >>> import torch
    >>> h, e = torch.tensor([[0.0, 0.0, 3.0], [1.0, 2.0, 0.0]]), torch.tensor([[1.0, 1.0, 1.0]]).repeat(2, 1)
    >>> x, w = torch.tensor([[0.0, 7.0, 1.0], [1.0, 7.0, 1.0]]), torch.ones(3, 3)
    >>> effective_dof({"hidden0": h}, {"hidden0": e}, {"hidden0": x}, {"hidden0": w}, {"hidden0": ()})  # 2 (1 + 1) of 9
    {'hidden0': 0.4444444444444444}
    """
    units = {name: e.shape[1] for name, e in errors.items()}
    live = {name: int(clusters(resemblance(h, errors[name]), threshold).max()) + 1 for name, h in activations.items()}
    reads = sources(outgoing)
    found = {}
    for name, x in inputs.items():
        free, bias = _free_columns(x)
        if layers := reads.get(name):
            free = (x.shape[1] - bias) * sum(live[s] for s in layers) / sum(units[s] for s in layers)
        found[name] = live.get(name, len(weights[name])) * (free + bias) / weights[name].numel()
    return found


def _free_columns(inputs: Tensor) -> tuple[float, int]:
    """Count the columns that vary over the batch, and the column of ones that stands for a bias."""
    varying = int((inputs != inputs[0]).any(dim=0).sum())
    return varying, int((inputs[:, -1] == 1).all())
