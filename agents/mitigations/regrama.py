"""ReGraMa: recycle the units that the loss hardly pulls at."""

from __future__ import annotations

from dataclasses import dataclass

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.attentive import Attentive
from lopgym.agents.mitigations.recycling import RECYCLES, recycle
from lopgym.agents.triggers import When
from lopgym.bounds import NonNegativeFloat, PositiveInt
from lopgym.probes.dormant import dormancy_scores
from lopgym.probes.recording import units_last


@mitigations.register(
    "regrama", cite="arXiv:2505.24061 eq. 2, by pre-activations", null={"every": 10**9}, promises=RECYCLES
)
@dataclass(kw_only=True, eq=False)
class ReGraMa(Attentive):
    """ReGraMa: as ReDo, but of the units with the smallest gradients in place of the smallest activations.

    A unit is inactive if E_b|dL/dz_bu| <= tau * (1/U sum_k E_b|dL/dz_bk|) over the minibatch just learned, z being what
    its affine map returns, as the probe `grama` has it. The paper's formula has the activation in place of z; other
    code has z as well, or the unit's weights: z shows that an activation is flat. Layers that the loss did not reach
    are left alone. It finds saturated units of any activation, which ReDo does not; it hurts where the
    loss is small because the task is solved, as then good units are pulled at by chance alone.
    Reports `reset_units`, in all and by layer.

    Args:
        tau: greatest score of an inactive unit. More recycle more.
        when: a trigger: the word `updates` for every `every` updates, or another one.
        every: updates between two sweeps. Fewer leave a new unit less time to become useful.
        moments: also zero the optimizer's moments of the weights that were reset.
        target: also reset the units in the target network.
    """

    tau: NonNegativeFloat = 0.01
    when: When = "updates"
    every: PositiveInt = 200
    moments: bool = True
    target: bool = False

    def act(self, learner: Learner) -> None:
        """Sweep, by the update just learned."""
        asked = self._witness.asked
        errors = {r.name: units_last(asked[r.incoming], r.incoming) for r in learner.layers if r.incoming in asked}
        self._witness.forget()
        inactive = {name: dormancy_scores(error) <= self.tau for name, error in errors.items() if error.any()}
        recycle(learner, inactive, moments=self.moments, target=self.target)
