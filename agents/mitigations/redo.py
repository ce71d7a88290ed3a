"""ReDo: recycle dormant neurons."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.reset_units import reset_units
from lopgym.bounds import NonNegativeFloat, PositiveInt
from lopgym.probes.captures import Captures
from lopgym.probes.dormant import dormancy_scores


@mitigations.register("redo", cite="arXiv:2302.12902 definition 3.1, alg. 1", null={"every": 10**9})
@dataclass(kw_only=True, eq=False)
class ReDo(Mitigation):
    """Recycle dormant neurons: now and then, give units that hardly fire fresh incoming and no outgoing weights.

    A unit is dormant if its mean absolute activation is at most `tau` times the mean of its layer (Sokar et al. 2023,
    definition 3.1). All layers are judged on one batch, before any unit is reset. A dead unit scores 0 and falls to any
    `tau`, so the null is a period that is never reached. Reports `reset_units`, in all and by layer.

    Args:
        tau: greatest score of a dormant unit.
        every: updates between two sweeps.
        batch: recent observations on which units are judged.
        moments: also zero the optimizer's moments of the weights that were reset.
        target: also reset the units in the target network.
    """

    tau: NonNegativeFloat = 0.1
    every: PositiveInt = 200
    batch: PositiveInt = 256
    moments: bool = True
    target: bool = False

    def after_step(self, learner: Learner) -> None:
        """Sweep every `every` updates."""
        if learner.updates % self.every:
            return
        scores = self._scores(learner)
        counts = {
            f"reset_units/{layer.name}": reset_units(
                learner, layer, scores[layer.name] <= self.tau, moments=self.moments, target=self.target
            )
            for layer in learner.layers
        }
        learner.report({"reset_units": sum(counts.values()), **counts})

    def _scores(self, learner: Learner) -> dict[str, Tensor]:
        layers = {layer.name: (layer.incoming, layer.activation) for layer in learner.layers}
        seen = Captures(learner.network, layers, {}, learner.observations(self.batch), forward=learner.forward)
        return {name: dormancy_scores(activation) for name, activation in seen.activations.items()}
