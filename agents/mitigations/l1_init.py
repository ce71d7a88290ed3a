"""L1 Init: regularise towards the initial weights, sparsely."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.mitigations.start import Start
from lopgym.agents.promises import Promises
from lopgym.bounds import NonNegativeFloat


@mitigations.register(
    "l1_init",
    cite="arXiv:2308.11958 sec. 5.3, choice of norm",
    null={"strength": 0.0},
    promises=Promises(function="n/a", touches=("hidden", "heads")),
)
@dataclass(kw_only=True, eq=False)
class L1Init(Mitigation):
    """Pull weights back to where they began, all equally hard: add strength * sign(theta - theta_0) to the gradient.

    That is the gradient of strength * ||theta - theta_0||_1, zero where a weight stands at its start. So most weights
    return and few go far, where `l2_init` lets many go a little. Acts on weights and biases of hidden layers and
    heads; norm gains and `log_std` stay free, and the target follows at its next update. It hurts where the loss needs
    many small changes. A weight that nothing else moves does not settle at its start but trembles around it, by about
    a step of the optimizer.

    Args:
        strength: of the pull. More holds every weight whose gradient is weaker than it at its start; less frees more.
    """

    strength: NonNegativeFloat = 1e-4
    _start: Start = field(default_factory=Start, init=False, repr=False)

    def begin(self, learner: Learner) -> None:
        """Remember where the weights began. Called late, it is where they stood at the first pull."""
        self._start.remember(learner)

    @torch.no_grad()
    def on_gradient(self, learner: Learner) -> None:
        """Add the pull."""
        if not self.strength:
            return
        for parameter, gradient, start in self._start.pairs(learner):
            gradient.add_((parameter - start).sign_(), alpha=self.strength)

    def state_dict(self) -> dict[str, Any]:
        """Return the weights at the start."""
        return self._start.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._start.load_state_dict(state)
