"""GraMa: units that the loss pulls at much less than at the others of their layer."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.bounds import NonNegativeFloat
from lopgym.probes import register
from lopgym.probes.dormant import dormancy_scores


@register(
    "grama",
    bounds=(0, 1),
    cite="arXiv:2505.24061 eq. 2, by pre-activations",
    invariant=("units", "samples", "scale"),
)
def grama(errors: Mapping[str, Tensor], *, tau: NonNegativeFloat = 0.01) -> dict[str, float]:
    """Share of units with a small GraMa score: those that the loss hardly pulls at.

    The score is a dormancy score of gradients in place of activations: E_b|dL_b/dz_bu| / (1/U sum_k E_b|dL_b/dz_bk|),
    by what the unit's affine map returns, where a flat activation shows; a unit is inactive if it is <= `tau`. The
    paper's formula has the activation h in place of z, where it does not show; its theorem, that dormant ReLUs are
    inactive, needs z. Public code reads E_i|dL/dw_ui| of the batch, where it shows as well. Magnitudes are averaged
    here, not gradients, so samples that pull in opposite directions do not cancel. All units of a layer without a
    gradient are inactive. Behind a LayerNorm a unit that is off keeps some: it moves the statistics.

    Args:
        errors: layer or head to (B, U), the derivative of each sample's loss by what the affine map returns.
        tau: score up to which a unit is inactive; 0 for units without any gradient.

    >>> import torch
    >>> grama({"hidden0": torch.tensor([[1.0, 0.001, -1.0], [-1.0, 0.001, 1.0]])})
    {'hidden0': 0.3333333333333333}
    """
    return {name: (dormancy_scores(error) <= tau).double().mean().item() for name, error in errors.items()}
