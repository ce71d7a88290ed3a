"""By the true task signal."""

from __future__ import annotations

from dataclasses import dataclass

from lopgym.agents.learner import Learner
from lopgym.agents.triggers import Trigger, triggers


@triggers.register("task", oracle=True)
@dataclass(kw_only=True, eq=False)
class Task(Trigger):
    """At every true task change, after the last update on the old task: an oracle, which deployed agents lack."""

    def on_task_change(self, learner: Learner) -> bool:
        """Act at each."""
        return True
