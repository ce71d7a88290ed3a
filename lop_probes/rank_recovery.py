"""Rank recovery: how strongly a layer's activation decorrelates what goes into it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.probes import matrices, register


def rank_recovery_strengths(pre_activations: Tensor, activations: Tensor, derivatives: Tensor) -> Tensor:
    """Return alpha_c = E[f'(z)^2] Var z / Var f(z) - 1 of each unit that is not constant, (live units,), doubles.

    If two units' pre-activations have the correlation 1 - epsilon, their activations have about
    1 - (1 + alpha_c) epsilon. The variance is centred, as correlations are; the paper's E[f(z)^2] belongs to
    correlations about 0.

    Args:
        pre_activations: z, (B, U).
        activations: f(z), (B, U), or (B, 2 U) of CReLU, of whose halves one moves at a time; their variances add.
        derivatives: f'(z), (B, U).
    """
    z, slopes = pre_activations.double(), derivatives.double()
    h = activations.double().reshape(len(z), -1, z.shape[1])
    spread = h.var(dim=0, correction=0).sum(dim=0)
    live = spread > matrices.CONSTANT**2 * h.square().mean(dim=0).sum(dim=0)
    recovered: Tensor = slopes.square().mean(dim=0) * z.var(dim=0, correction=0)
    return recovered[live] / spread[live] - 1


@register(
    "rank_recovery",
    bounds=(-1, float("inf")),
    cite="arXiv:2510.00304, alpha_f, centred",
    invariant=("units", "samples", "offset"),
)
def rank_recovery(
    pre_activations: Mapping[str, Tensor], activations: Mapping[str, Tensor], derivatives: Mapping[str, Tensor]
) -> dict[str, float]:
    """Median over a layer's units of alpha, the strength with which the activation raises the rank of its inputs.

    alpha_c = E[f'(z)^2] Var z / Var f(z) - 1 of the batch's own pre-activations, centred; constant units, which have
    none, are left out, and where all are, it is 0. For z ~ N(0, 1): ReLU 0.467, tanh 0.178. High is a warning and no
    sign of health: it grows without bound as units die.

    Args:
        pre_activations: layer to (B, U).
        activations: layer to (B, U).
        derivatives: layer to (B, U).

    >>> import torch
    >>> z = torch.tensor([[-1.0], [1.0]])
    >>> rank_recovery({"hidden0": z}, {"hidden0": z.relu()}, {"hidden0": (z > 0).double()})  # 1/2 * 1 / (1/4) - 1
    {'hidden0': 1.0}
    """
    found = {
        name: rank_recovery_strengths(z, activations[name], derivatives[name]) for name, z in pre_activations.items()
    }
    return {name: alpha.quantile(0.5).item() if len(alpha) else 0.0 for name, alpha in found.items()}
