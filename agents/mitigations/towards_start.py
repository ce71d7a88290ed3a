"""Towards the start: what regularisers share that pull every weight back to where training began."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation
from lopgym.agents.mitigations.start import Start
from lopgym.bounds import NonNegativeFloat


@dataclass(kw_only=True, eq=False)
class TowardsStart(Mitigation):
    """Base of methods that add strength * pull(theta, theta_0) to the gradient: they define `pull`.

    Args:
        strength: of the pull.
    """

    strength: NonNegativeFloat
    _start: Start = field(default_factory=Start, init=False, repr=False)

    def pull(self, parameter: Tensor, start: Tensor) -> Tensor:
        """Return the gradient of the penalty at strength 1, by a tensor that began at `start`."""
        raise NotImplementedError

    def begin(self, learner: Learner) -> None:
        """Remember where the weights began. Called late, it is where they stood at the first pull."""
        self._start.remember(learner)

    @torch.no_grad()
    def on_gradient(self, learner: Learner) -> None:
        """Add the pull."""
        if not self.strength:
            return
        for parameter, gradient, start in self._start.pairs(learner):
            gradient.add_(self.pull(parameter, start), alpha=self.strength)

    def state_dict(self) -> dict[str, Any]:
        """Return the weights at the start."""
        return self._start.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._start.load_state_dict(state)
