"""Reset: start the whole network over, now and then."""

from __future__ import annotations

from dataclasses import dataclass

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.forgetting import clear, trained
from lopgym.agents.mitigations.triggered import Triggered
from lopgym.agents.promises import Promises


@mitigations.register(
    "reset",
    cite="arXiv:2205.07802",
    null={"when": {"kind": "updates", "every": 10**9}},
    promises=Promises(
        function="no",
        touches=("hidden", "heads", "norms", "log_std", "extra", "buffers", "moments", "steps", "target"),
        synchronises=True,
    ),
)
@dataclass(kw_only=True, eq=False)
class Reset(Triggered):
    """Reset: draw the whole network anew and forget the optimizer's state; what was learned lives on in the buffer.

    theta <- theta' ~ init, every parameter in place, `log_std` and norm gains among them, so that the optimizer keeps
    training all; the target is synchronised (Nikishin et al. 2022, whose full resets are of SAC every 2e5 steps, the
    replay buffer kept). At every task change it is `fresh`. It hurts whenever there is no buffer to learn again from,
    as in PPO, whose rollout is another policy's from then on if it acts between two updates, and in short tasks. Rarer
    resets lose less and leave more of a lost plasticity lost.
    """

    def act(self, learner: Learner) -> None:
        """Start over."""
        learner.network.load_state_dict(learner.fresh())
        clear(learner.optimizer, trained(learner.optimizer))
        learner.synchronise_target()
