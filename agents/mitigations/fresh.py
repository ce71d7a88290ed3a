"""A fresh agent at every task: the reference against which loss of plasticity is read."""

from __future__ import annotations

from dataclasses import dataclass

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.promises import Promises


@mitigations.register(
    "fresh",
    cite="arXiv:2205.07802 (resets, here of everything)",
    null=None,
    null_reason="it has no strength: a run of a single task, which never calls it, is bitwise `none`",
    oracle=True,
    promises=Promises(
        function="no",
        touches=("hidden", "heads", "norms", "log_std", "extra", "buffers", "moments", "steps", "target"),
        synchronises=True,
    ),
)
@dataclass(kw_only=True, eq=False)
class Fresh(Mitigation):
    """Reference: a new network and a new optimizer state at every task change; what was learned is lost.

    An agent that keeps its plasticity is as good on a new task as this one. The parameters are rewritten in place, so
    that the optimizer keeps training them; the target is synchronised.
    """

    def on_task_change(self, learner: Learner) -> None:
        """Start over."""
        learner.network.load_state_dict(learner.fresh())
        learner.optimizer.state.clear()
        learner.synchronise_target()
