"""Distance to frozen: how far rectified units are from being silent on everything they see, in weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lopgym.bounds import PositiveInt
from lopgym.probes import register
from lopgym.probes.wiring import Outgoing, own_weights

TINY = torch.finfo(torch.float64).tiny
ROWS = 1024


def distances_to_silence(inputs: Tensor, weights: Tensor, *, steps: int = 30) -> Tensor:
    """Return a lower bound on the length of the least change of each unit's weights that makes all z_b <= 0, (U,).

    By duality: whatever l >= 0, no shorter change than sum_b l_b z_b / ||sum_b l_b x_b|| can do it, and the best l
    attains the distance. Accelerated projected gradient (Beck and Teboulle 2009, doi:10.1137/080716542, section 4)
    climbs there; its first step is l_b = z_b^+, with x_b of unit length, for length does not move where z_b <= 0.

    Args:
        inputs: x, (B, I + 1), the last column 1 where there is a bias. Of more than 1,024 rows, as of images, some are
            looked at, evenly spread, which leaves it a lower bound.
        weights: (U, I + 1).
        steps: of the gradient.

    >>> distances_to_silence(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[3.0, 4.0], [3.0, -9.0]]))
    tensor([5., 3.], dtype=torch.float64)
    """
    x = inputs[:: math.ceil(len(inputs) / ROWS)].double()
    x = x / x.norm(dim=1, keepdim=True).clamp_min(TINY)
    w = weights.double().T
    z, gram = x @ w, x.T @ x if x.shape[1] <= len(x) else x @ x.T
    steepest = torch.linalg.eigvalsh(gram)[-1].clamp_min(TINY)
    pressed = ahead = torch.zeros_like(z)
    pace = 1.0
    for _ in range(steps):
        before, pace_before = pressed, pace
        pressed = (ahead + (z - x @ (x.T @ ahead)) / steepest).clamp_min(0)
        pace = (1 + (1 + 4 * pace**2) ** 0.5) / 2
        ahead = pressed + (pace_before - 1) / pace * (pressed - before)
    bounds: Tensor = (pressed * z).sum(dim=0) / (x.T @ pressed).norm(dim=0).clamp_min(TINY)
    return bounds.clamp_min(0)


@register(
    "distance_to_frozen",
    bounds=(0, 1),
    cite="arXiv:2510.00304, manifold of frozen units",
    invariant=("units", "samples", "scale", "offset"),
)
def distance_to_frozen(
    inputs: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    pre_activations: Mapping[str, Tensor],
    derivatives: Mapping[str, Tensor],
    outgoing: Outgoing,
    direct: Sequence[str],
    *,
    steps: PositiveInt = 30,
) -> dict[str, float]:
    """Distance of a layer's live units to the nearest weights at which they are frozen, relative to their weights.

    Median over the units with f'(z_b) != 0 on some sample b of min ||v|| / ||w_u||: v is a change of the incoming
    weights and the bias such that z_b <= 0 on the whole batch, and w_u is all that belongs to u, outgoing weights
    included, as in `distance_to_clones`. 0 where no unit lives. It is at most 1, for a unit without incoming weights is
    silent, and it is a lower bound, some per cent short of the minimum: see `distances_to_silence`. It is of this
    batch: on more samples a unit is farther from being silent on all.

    For layers whose activation is flat at and below 0 wherever the batch shows it, as ReLU is. Smooth activations
    freeze only in the limit, and both halves of CReLU never; layers behind a norm, which rescales, are left out too.

    Args:
        inputs: layer to (B, I + 1).
        weights: layer or head to (U, I + 1).
        pre_activations: layer to (B, U).
        derivatives: layer to (B, U).
        outgoing: layer to the names of the layers and heads that read it.
        direct: layers without a norm.
        steps: of the bound's ascent.

    >>> import torch
    >>> x, w = {"hidden0": torch.tensor([[1.0, 0.0], [0.0, 1.0]])}, {"hidden0": torch.tensor([[3.0, -4.0]])}
    >>> z = {"hidden0": torch.tensor([[3.0], [-4.0]])}
    >>> distance_to_frozen(x, w, z, {"hidden0": torch.tensor([[1.0], [0.0]])}, {"hidden0": ()}, ("hidden0",))
    {'hidden0': 0.6}
    """
    rectified = [name for name in direct if not derivatives[name][pre_activations[name] <= 0].any()]
    channels = {name: z.shape[1] for name, z in pre_activations.items()}
    own = own_weights(weights, channels, outgoing)
    return {
        name: _median_live(distances_to_silence(inputs[name], weights[name], steps=steps), own[name], derivatives[name])
        for name in rectified
    }


def _median_live(distances: Tensor, own: Tensor, slopes: Tensor) -> float:
    live = slopes.any(dim=0)
    if not live.any():
        return 0.0
    relative = distances / own.double().norm(dim=1).clamp_min(TINY)
    return min(1.0, float(relative[live].quantile(0.5)))
