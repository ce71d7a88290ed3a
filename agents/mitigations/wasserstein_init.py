"""Wasserstein Init: regularise towards the initial distribution of weights, whichever weight has which value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.mitigations.start import Start
from lopgym.agents.promises import Promises
from lopgym.bounds import NonNegativeFloat


@mitigations.register(
    "wasserstein_init",
    cite="arXiv:2406.06811v1 (Wasserstein regularisation; version 2 leaves it out)",
    null={"strength": 0.0},
    promises=Promises(function="n/a", touches=("hidden", "heads")),
)
@dataclass(kw_only=True, eq=False)
class WassersteinInit(Mitigation):
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
    _start: Start = field(default_factory=Start, init=False, repr=False)
    _ascending: list[NDArray[Any]] = field(default_factory=list, init=False, repr=False)

    def begin(self, learner: Learner) -> None:
        """Remember where the weights began. Called late, it is where they stood at the first pull."""
        self._start.remember(learner)

    @torch.no_grad()
    def on_gradient(self, learner: Learner) -> None:
        """Add the pull."""
        if not self.strength:
            return
        if not self._ascending:
            self._ascending = [np.sort(start.flatten().cpu().numpy()) for start in self._start.weights(learner)]
        for parameter, ascending in zip(learner.weights_and_biases(), self._ascending, strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(parameter - _arranged(parameter, ascending), alpha=self.strength)

    def state_dict(self) -> dict[str, Any]:
        """Return the weights at the start."""
        return self._start.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._start.load_state_dict(state)
        self._ascending = []


def of_same_rank(values: Tensor, others: Tensor) -> Tensor:
    """Arrange `others` in the order of `values`, which has as many entries: the smallest where it is smallest.

    Equal values are taken in the order in which they stand.

    >>> of_same_rank(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([0.0, 10.0, 20.0]))
    tensor([20.,  0., 10.])
    """
    return _arranged(values, np.sort(others.flatten().cpu().numpy()))


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
