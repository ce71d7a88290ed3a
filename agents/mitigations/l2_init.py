"""L2 Init: regularise towards the initial weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.promises import Promises
from lopgym.bounds import NonNegativeFloat


@mitigations.register(
    "l2_init",
    cite="arXiv:2308.11958 sec. 3",
    null={"strength": 0.0},
    promises=Promises(function="n/a", touches=("hidden", "heads")),
)
@dataclass(kw_only=True, eq=False)
class L2Init(Mitigation):
    """Pull weights back to where they began: add strength * (theta - theta_0) to the gradient.

    That is the gradient of strength / 2 * ||theta - theta_0||^2: the paper's lambda (Kumar et al. 2023, sec. 3) is half
    the `strength`. It goes through the optimizer and its clipping like any gradient, so it also moves units whose own
    gradient is zero. Acts on weights and biases of hidden layers and heads; norm gains and `log_std` stay free.

    Args:
        strength: of the pull.
    """

    strength: NonNegativeFloat = 1e-2
    _start: list[Tensor] = field(default_factory=list, init=False, repr=False)

    def begin(self, learner: Learner) -> None:
        """Remember where the weights began. Called late, it is where they stood at the first pull."""
        if not self._start:
            self._start = [parameter.detach().clone() for parameter in learner.weights_and_biases()]

    @torch.no_grad()
    def on_gradient(self, learner: Learner) -> None:
        """Add the pull."""
        if not self.strength:
            return
        self.begin(learner)
        for parameter, start in zip(learner.weights_and_biases(), self._start, strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(parameter - start, alpha=self.strength)

    def state_dict(self) -> dict[str, Any]:
        """Return the weights at the start."""
        return {"start": [start.clone() for start in self._start]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._start = [start.clone() for start in state["start"]]
