"""Wasserstein Init: regularise towards the initial distribution of weights, whichever weight has which value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.towards_start import TowardsStart
from lopgym.agents.promises import Promises
from lopgym.bounds import NonNegativeFloat


@mitigations.register(
    "wasserstein_init",
    cite="arXiv:2406.06811v1 (Wasserstein regularisation; version 2 leaves it out)",
    null={"strength": 0.0},
    promises=Promises(function="n/a", touches=("hidden", "heads")),
)
@dataclass(kw_only=True, eq=False)
class WassersteinInit(TowardsStart):
    """Pull each layer's weights back to the values they began with, in any order: sorted weights to sorted weights.

    The penalty of a tensor is strength / 2 * ||sort(theta) - sort(theta_0)||^2, its squared 2-Wasserstein distance
    from its initial values, up to a factor; its gradient takes each weight to the initial value of the same rank, so a
    network may be permuted or rewired freely as long as its weights keep their distribution. The distance here is a
    sum over the tensor, as in `l2_init`; some implementations take a mean, of which a usual strength is larger by
    the number of entries. Weights and biases are tensors of their own; norm gains and `log_std` stay free, and the
    target follows at its next update. Sorting makes it the dearest of the regularisers towards the start. It does not
    see rank: rows that have become alike can still have their initial values.

    Args:
        strength: of the pull. More keeps the distribution closer to the initial one; less is nearer to `none`.
    """

    strength: NonNegativeFloat = 1e-2
    _ascending: WeakIdKeyDictionary = field(default_factory=WeakIdKeyDictionary, init=False, repr=False)

    def pull(self, parameter: Tensor, start: Tensor) -> Tensor:
        """Return the way from the value of the same rank at the start, which is sorted once."""
        if start not in self._ascending:
            self._ascending[start] = _sorted(start)
        return parameter - _arranged(parameter, self._ascending[start])


def of_same_rank(values: Tensor, others: Tensor) -> Tensor:
    """Arrange `others` in the order of `values`, which has as many entries: the smallest where it is smallest.

    Equal values are taken in the order in which they stand.

    >>> of_same_rank(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([0.0, 10.0, 20.0]))
    tensor([20.,  0., 10.])
    """
    return _arranged(values, _sorted(others))


def _sorted(values: Tensor) -> NDArray[Any]:
    return np.sort(values.detach().flatten().cpu().numpy())


def _arranged(values: Tensor, ascending: NDArray[Any]) -> Tensor:
    flat = values.detach().flatten().cpu().numpy()
    arranged = np.empty_like(ascending)
    arranged[_order(flat)] = ascending
    return torch.as_tensor(arranged, device=values.device).view_as(values)


def _order(flat: NDArray[Any]) -> NDArray[np.intp]:
    """Return the places of the values in ascending order. To keep equal ones in order takes several times as long."""
    order = flat.argsort()
    found = flat[order]
    return flat.argsort(kind="stable") if (found[1:] == found[:-1]).any() else order
