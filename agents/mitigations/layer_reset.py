"""Layer reset: draw the last layers anew, now and then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.last_layers import draw_anew, last_maps
from lopgym.agents.mitigations.triggered import Triggered
from lopgym.agents.promises import Promises
from lopgym.bounds import PositiveInt

Optimizer = Literal["keep", "reset_moments", "clear"]


@mitigations.register(
    "layer_reset",
    cite="arXiv:2205.07802",
    null={"when": {"kind": "updates", "every": 10**9}},
    promises=Promises(
        function="no",
        touches=("hidden", "heads", "moments", "steps", "target"),
        synchronises=True,
        unless={
            "hidden": {"last": (1,)},
            "moments": {"optimizer": ("keep",)},
            "steps": {"optimizer": ("keep", "reset_moments")},
        },
    ),
)
@dataclass(kw_only=True, eq=False)
class LayerReset(Triggered):
    """Layer reset: draw the last `last` affine maps of every branch anew and keep the features below them.

    W, b <- those of a new network, in place, so that the optimizer keeps training them; the target is synchronised. A
    branch is a head and the hidden layers that feed it; Nikishin et al. (2022) reset the last layers of an agent on
    images and keep its encoder. Norm gains stay. It hurts as `head_reset` does, and more, since features are lost.

    Args:
        last: maps of each branch, the head counted. More free more and forget more; 1 is `head_reset`, and more than
            there are is all of them.
        optimizer: `keep` leaves its state; `reset_moments` zeroes what it remembers of these maps, but not their step
            counts, so that first steps are long, as `optimizer_reset` says; `clear` forgets both.
    """

    last: PositiveInt = 2
    optimizer: Optimizer = "clear"

    def act(self, learner: Learner) -> None:
        """Draw the last layers anew."""
        draw_anew(learner, last_maps(learner, self.last), self.optimizer)
