"""What methods that act at moments share: a trigger says when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, name_of
from lopgym.agents.triggers import Trigger, When, triggers
from lopgym.agents.triggers.updates import Updates
from lopgym.bounds import PositiveInt
from lopgym.kinds import KindOf


@dataclass(kw_only=True, eq=False)
class Triggered(Mitigation):
    """Base of methods that act at moments: they define `act`, and the trigger calls it.

    Args:
        when: a trigger: `task`, the true task change; `{kind: updates, every: 1000}`; `{kind: detected, ...}`, a change
            that the agent hears itself; `{kind: probe, ...}`, a probe beyond a threshold. The bare name of a kind has
            its defaults.

    Raises:
        ValueError: a trigger that does not exist, or an option of it that is not allowed.
    """

    when: When = "task"

    def __post_init__(self) -> None:
        """Build the trigger now: a wrong one is refused before training."""
        super().__post_init__()
        self._trigger: Trigger = self.make_trigger()

    def make_trigger(self) -> Trigger:
        """Return the trigger that `when` means."""
        made: Trigger = KindOf(triggers).build(f"{name_of(self)}: when", self.when)
        return made

    def act(self, learner: Learner) -> None:
        """Do what the method does."""
        raise NotImplementedError

    def begin(self, learner: Learner) -> None:
        """Let the trigger meet the learner."""
        self._trigger.begin(learner, self.active_from)

    def after_step(self, learner: Learner) -> None:
        """Act if the trigger fires after this update."""
        if self._trigger.after_step(learner):
            self.act(learner)

    def on_task_change(self, learner: Learner) -> None:
        """Act if the trigger fires at the true task change."""
        if self._trigger.on_task_change(learner):
            self.act(learner)

    def state_dict(self) -> dict[str, Any]:
        """Return what the trigger remembers."""
        return {"trigger": self._trigger.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._trigger.load_state_dict(state["trigger"])


@dataclass(kw_only=True, eq=False)
class Periodic(Triggered):
    """Base of triggered methods with a period of their own, the one that the bare word `updates` means.

    Args:
        every: updates between two acts, if `when` is the word `updates`.
    """

    every: PositiveInt = 1

    def make_trigger(self) -> Trigger:
        """Return the trigger that `when` means."""
        return Updates(every=self.every) if self.when == "updates" else super().make_trigger()
