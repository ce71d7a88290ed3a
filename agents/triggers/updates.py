"""By the count of updates."""

from __future__ import annotations

from dataclasses import dataclass

from lopgym.agents.learner import Learner
from lopgym.agents.triggers import Trigger, triggers
from lopgym.bounds import PositiveInt


@triggers.register("updates")
@dataclass(kw_only=True, eq=False)
class Updates(Trigger):
    """Every `every` updates of the network, counted from the start of training.

    Args:
        every: updates between two acts.
    """

    every: PositiveInt = 1000

    def is_near(self, learner: Learner) -> bool:
        """Count one ahead."""
        return (learner.updates + 1) % self.every == 0

    def after_step(self, learner: Learner) -> bool:
        """Count."""
        return learner.updates % self.every == 0
