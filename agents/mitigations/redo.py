"""ReDo: recycle dormant neurons."""

from __future__ import annotations

from dataclasses import dataclass

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.recycling import RECYCLES, recent_activations, recycle
from lopgym.agents.mitigations.triggered import Periodic
from lopgym.agents.triggers import When
from lopgym.bounds import NonNegativeFloat, PositiveInt
from lopgym.probes.dormant import dormancy_scores


@mitigations.register(
    "redo",
    cite="arXiv:2302.12902 definition 3.1, alg. 1",
    null={"every": 10**9},
    promises=RECYCLES,
)
@dataclass(kw_only=True, eq=False)
class ReDo(Periodic):
    """Recycle dormant neurons: now and then, give units that hardly fire fresh incoming and no outgoing weights.

    A unit is dormant if its mean absolute activation is at most `tau` times the mean of its layer (Sokar et al. 2023,
    definition 3.1). All layers are judged on one batch, before any unit is reset. A dead unit scores 0 and falls to any
    `tau`, so the null is a period that is never reached. It hurts where units speak rarely but say what matters: they
    are quiet on average. Reports `reset_units`, in all and by layer.

    Args:
        tau: greatest score of a dormant unit. More recycle more, useful ones among them.
        when: a trigger: the word `updates` for every `every` updates, or another one.
        every: updates between two sweeps. Fewer leave a new unit less time to become useful.
        batch: recent observations on which units are judged. More spare units that are rarely on, and cost more.
        match_norms: scale fresh incoming weights to the mean norm of those of the units that stay, as the authors'
            code can.
        moments: also zero the optimizer's moments of the weights that were reset.
        target: also reset the units in the target network.
    """

    tau: NonNegativeFloat = 0.1
    when: When = "updates"
    every: PositiveInt = 200
    batch: PositiveInt = 256
    match_norms: bool = False
    moments: bool = True
    target: bool = False

    def act(self, learner: Learner) -> None:
        """Sweep."""
        seen = recent_activations(learner, self.batch)
        dormant = {name: dormancy_scores(activation) <= self.tau for name, activation in seen.items()}
        recycle(learner, dormant, moments=self.moments, target=self.target, match_norms=self.match_norms)
