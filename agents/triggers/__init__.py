"""Triggers: when a method acts, for methods that act at moments. Plain data in a config, told apart by `kind`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from lopgym.kinds import KindOf
from lopgym.registry import Registry

if TYPE_CHECKING:
    from lopgym.agents.learner import Learner


class Trigger:
    """Base of every trigger: it is asked at each moment at which a method could act, and never fires.

    A trigger changes nothing and draws no random number, except that `probe` draws recent observations.
    """

    def begin(self, learner: Learner, active_from: int) -> None:
        """Meet the learner before its first update; what happens in tasks before `active_from` is no reason to act."""

    def is_near(self, learner: Learner) -> bool:
        """Say, before an update, whether it could fire after it: those ask who must listen to an update to act."""
        return True

    def after_step(self, learner: Learner) -> bool:
        """Say whether to act now, after an update."""
        return False

    def on_task_change(self, learner: Learner) -> bool:
        """Say whether to act now, at a true task change, of which only an experiment can tell."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Return what it remembers, as plain data."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""


triggers: Registry[Trigger] = Registry("trigger", __name__)

When = Annotated[Any, KindOf(triggers)]
"""Type of an option that takes a trigger: `{"kind": "updates", "every": 200}`, or a bare `task`."""
