"""ReGraMa: recycle the units that the loss hardly pulls at."""

from __future__ import annotations

from dataclasses import dataclass, field

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.mitigations.error_listener import ErrorListener
from lopgym.agents.mitigations.recycling import RECYCLES, recycle
from lopgym.bounds import NonNegativeFloat, PositiveInt
from lopgym.probes.dormant import dormancy_scores

NEVER = 10**9


@mitigations.register(
    "regrama", cite="arXiv:2505.24061 eq. 2, by pre-activations", null={"every": NEVER}, promises=RECYCLES
)
@dataclass(kw_only=True, eq=False)
class ReGraMa(Mitigation):
    """ReGraMa: as ReDo, but of the units with the smallest gradients in place of the smallest activations.

    A unit is inactive if E_b|dL/dz_bu| <= tau * (1/U sum_k E_b|dL/dz_bk|) over the minibatch just learned, z being what
    its affine map returns, as the probe `grama` has it. The paper's formula has the activation in place of z, and its
    public code the unit's weights: z shows that an activation is flat, and needs no second batch. Layers that the loss
    did not reach are left alone. It finds saturated units of any activation, which ReDo does not; it hurts where the
    loss is small because the task is solved, as then good units are pulled at by chance alone.
    Reports `reset_units`, in all and by layer.

    Args:
        tau: greatest score of an inactive unit. More recycle more.
        every: updates between two sweeps. Fewer leave a new unit less time to become useful.
        moments: also zero the optimizer's moments of the weights that were reset.
        target: also reset the units in the target network.
    """

    tau: NonNegativeFloat = 0.01
    every: PositiveInt = 200
    moments: bool = True
    target: bool = False
    _listener: ErrorListener = field(default_factory=ErrorListener, init=False, repr=False)

    def begin(self, learner: Learner) -> None:
        """Listen to the hidden layers. Called late, after an update, it costs that update's errors."""
        if self.every < NEVER:
            self._listener.listen(learner.layers)

    def end(self, learner: Learner) -> None:
        """Stop listening."""
        self._listener.close()

    def after_step(self, learner: Learner) -> None:
        """Sweep every `every` updates."""
        self.begin(learner)
        heard = self._listener.take()
        if learner.updates % self.every:
            return
        inactive = {name: dormancy_scores(error) <= self.tau for name, error in heard.items() if error.any()}
        recycle(learner, inactive, moments=self.moments, target=self.target)
