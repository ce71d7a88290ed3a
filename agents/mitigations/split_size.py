"""Split size: how far to push clones apart, so that they are no clones by the time that growth has done the rest."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.optim import Optimizer

from lopgym.agents.initialisers import bias_of
from lopgym.agents.mitigations.columns import pack
from lopgym.agents.network import Layer
from lopgym.probes import matrices

WITHIN = 10  # updates; beyond, the network has moved and the direction of fastest growth with it


def lengths(theta: Tensor, growth: Tensor, threshold: float) -> Tensor:
    """Return ||theta|| t (1 + growth)^-10 of each cluster, t = `unlike(threshold)`.

    Args:
        theta: length of the cluster's weights.
        growth: of a split in one update, as a share of it; it counts as 1 at most, or rounding would swallow the split.
        threshold: resemblance above which units are clones.

    >>> lengths(torch.tensor([300.0, 300.0]), torch.tensor([0.0, 0.05]), 0.8).round()
    tensor([100.,  61.])
    """
    return unlike(threshold) * theta * (1 + growth.clamp(max=1)) ** -WITHIN


def unlike(threshold: float) -> float:
    """Return how far apart w + a and w - a are, ||a|| / ||w||, if their cosine is `threshold` and a is normal to w.

    >>> round(unlike(0.8), 12)
    0.333333333333
    """
    return math.sqrt((1 - threshold) / (1 + threshold))


def step_size(optimizer: Optimizer, layer: Layer, units: Tensor) -> float:
    """Return what the optimizer multiplies the gradient of chosen units by: its learning rate, or Adam's share of it.

    Adam divides entry by entry by sqrt(v) + eps; here v is its mean over all weights of the units.
    """
    rate = next(group for group in optimizer.param_groups if any(p is layer.incoming.weight for p in group["params"]))
    own = [layer.incoming.weight, bias_of(layer.incoming), *(module.weight for module in layer.outgoing)]
    states = [optimizer.state.get(p, {}) for p in own]
    if not all("exp_avg_sq" in state for state in states):
        return float(rate["lr"])
    squares = [s["exp_avg_sq"] / (1 - rate["betas"][1] ** float(s["step"])) for s in states]
    of_units = torch.cat([matrices.beside(squares[:2]), pack(squares[2:], len(units), layer.halves)], dim=1)[units]
    return float(rate["lr"] / (of_units.mean().sqrt() + rate["eps"]))
