"""Head reset: draw the output maps anew, now and then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.last_layers import draw_anew, last_maps
from lopgym.agents.mitigations.triggered import Triggered
from lopgym.agents.promises import Promises

Optimizer = Literal["keep", "reset_moments", "clear"]


@mitigations.register(
    "head_reset",
    cite="arXiv:2205.07802",
    null={"when": {"kind": "updates", "every": 10**9}},
    promises=Promises(
        function="no",
        touches=("heads", "moments", "steps", "target"),
        synchronises=True,
        unless={"moments": {"optimizer": ("keep",)}, "steps": {"optimizer": ("keep", "reset_moments")}},
    ),
)
@dataclass(kw_only=True, eq=False)
class HeadReset(Triggered):
    """Head reset: draw every output map anew and keep the features, of actor and critic alike.

    W, b <- those of a new network, in place, so that the optimizer keeps training them; the target is synchronised. It
    is the reset of the last layer of Nikishin et al. (2022). It helps where heads have overfitted old targets and does
    nothing for dead units below; it hurts PPO's policy, which acts at random until its head has learned again. Rarer
    resets lose less and leave heads longer as they are.

    Args:
        optimizer: `keep` leaves its state; `reset_moments` zeroes what it remembers of the heads, but not their step
            counts, so that first steps are long, as `optimizer_reset` says; `clear` forgets both.
    """

    optimizer: Optimizer = "clear"

    def act(self, learner: Learner) -> None:
        """Draw the heads anew."""
        draw_anew(learner, last_maps(learner, 1), self.optimizer)
