"""Optimizer reset: forget old gradients, keep the network."""

from __future__ import annotations

from dataclasses import dataclass

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.forgetting import clear, reset_moments, trained
from lopgym.agents.mitigations.triggered import Triggered
from lopgym.agents.promises import Promises


@mitigations.register(
    "optimizer_reset",
    cite="arXiv:2306.17833",
    null={"when": {"kind": "updates", "every": 10**9}},
    promises=Promises(
        function="exact",
        touches=("moments", "steps"),
        unless={"steps": {"steps": (False,)}},
    ),
)
@dataclass(kw_only=True, eq=False)
class OptimizerReset(Triggered):
    """Optimizer reset: zero Adam's moments, and its step counts, so that a new task is learned as if from the start.

    m, v, t <- 0 for every parameter; the network is not touched. Asadi et al. (2023) do it whenever the target of
    deep Q-learning changes, since the moments are of another loss. With old moments the first steps after a change are
    wrong and too large: v has forgotten nothing of how small the last gradients were. It does nothing for dead or
    cloned units. It hurts if done often: Adam's first steps after it are as long as the learning rate says, however
    small the gradient. With old step counts they are longer still: without bias correction a constant gradient moves a
    weight by (1 - b1^k) / sqrt(1 - b2^k) learning rates in step k, 3 at first and 6.6 in step 12 with Adam's own betas.

    Args:
        steps: also forget the step counts; if not, Adam's bias correction goes on as if the moments were old.
    """

    steps: bool = True

    def act(self, learner: Learner) -> None:
        """Forget."""
        forget = clear if self.steps else reset_moments
        forget(learner.optimizer, trained(learner.optimizer))
