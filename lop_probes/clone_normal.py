"""Clone normal: how much of the gradient pulls clones apart."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lopgym.bounds import Fraction
from lopgym.probes import register
from lopgym.probes.clones import THRESHOLD, clusters, have_clones, per_unit, resemblance


@register(
    "clone_normal",
    bounds=(0, 1),
    cite="arXiv:2510.00304, tangency of the gradient",
    invariant=("samples", "scale", "offset"),
)
def clone_normal(
    activations: Mapping[str, Tensor],
    errors: Mapping[str, Tensor],
    loss_gradients: Mapping[str, Tensor],
    *,
    threshold: Fraction = THRESHOLD,
) -> dict[str, float]:
    """Share of the clones' gradient that is normal to their manifold: 0 if no step of plain descent parts them.

    ||g_C - P_T g_C||^2 / ||g_C||^2 over the incoming weights and biases of the units that have clones
    (`clone_fraction`). P_T projects each cluster on the direction in which its units move in proportion to the norm of
    their centred activations, so that scaled clones, invariant for piecewise-linear units, read 0 as well. Clones that
    share their outgoing weights unequally are on no invariant manifold: .3 and .7 read 0.14. 0 where there are none.

    Args:
        activations: layer to (B, U).
        errors: layer to (B, U).
        loss_gradients: layer to (U, I + 1).
        threshold: resemblance above which units are clones.

    >>> import torch
    >>> h, e = torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.ones(2, 2)
    >>> clone_normal({"hidden0": h}, {"hidden0": e}, {"hidden0": torch.tensor([[3.0, 0.0], [1.0, 0.0]])})
    {'hidden0': 0.2}
    """
    return {
        name: _normal_share(
            loss_gradients[name].double(),
            clusters(resemblance(h, errors[name]), threshold),
            per_unit(h, errors[name].shape[1]).double().std(dim=0, correction=0),
        )
        for name, h in activations.items()
        if name in loss_gradients
    }


def _normal_share(gradient: Tensor, labels: Tensor, sizes: Tensor) -> float:
    """Return the share of `gradient`'s square outside the span of each cluster's `sizes`."""
    chosen = have_clones(labels)
    largest = gradient[chosen].abs().amax() if chosen.any() else gradient.new_zeros(())
    if largest == 0:
        return 0.0
    g = gradient[chosen] / largest
    basis = torch.nn.functional.one_hot(labels[chosen]).double() * sizes[chosen, None]
    basis = torch.nn.functional.normalize(basis, dim=0, eps=0.0).nan_to_num(0.0)
    normal = g - basis @ (basis.T @ g)
    return (normal.square().sum() / g.square().sum()).item()
