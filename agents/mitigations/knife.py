"""KNIFE-guided recycling: reset the units whose weights the gradient hardly moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.recycling import RECYCLES, recycle
from lopgym.agents.mitigations.triggered import Periodic
from lopgym.agents.triggers import When
from lopgym.bounds import NonNegativeFloat, PositiveInt
from lopgym.probes.relative import relative_to_mean

_LEAST_NORM = 1e-12


@mitigations.register(
    "knife", cite="arXiv:2606.25335 (relative update activity)", null={"every": 10**9}, promises=RECYCLES
)
@dataclass(kw_only=True, eq=False)
class Knife(Periodic):
    """Recycle stagnant units: those whose gradients are small for their weights, beside the others of their layer.

    Update activity is a_u = ||g_u|| / ||w_u|| of the incoming weights, averaged over the updates since the last sweep;
    a unit is stagnant if a_u < threshold * mean_k a_k. A layer that no gradient reached is left alone. KNIFE itself
    puts three units in the place of a stagnant one: itself, frozen; a fresh one; and one that cancels the fresh one's
    output as it begins. Here it is reset, as ReDo does, so that the network keeps its size and forgets what the unit
    did. The probe `stagnant_fraction` reads steps of the weights in place of gradients, which differ from them under
    Adam. It hurts where large weights are large because they are right. Reports `reset_units`, in all and by layer.

    Args:
        threshold: relative activity below which a unit is stagnant. More recycle more.
        when: a trigger: the word `updates` for every `every` updates, or another one.
        every: updates between two sweeps, over which activity is averaged. Fewer judge by less.
        moments: also zero the optimizer's moments of the weights that were reset.
        target: also reset the units in the target network.
    """

    threshold: NonNegativeFloat = 0.25
    when: When = "updates"
    every: PositiveInt = 200
    moments: bool = True
    target: bool = False
    _totals: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    @torch.no_grad()
    def on_gradient(self, learner: Learner) -> None:
        """Add up each unit's activity."""
        for layer in learner.layers:
            weight = layer.incoming.weight
            if weight.grad is not None:
                activity = _lengths(weight.grad) / _lengths(weight).clamp_min_(_LEAST_NORM)
                total = self._totals.get(layer.name)
                self._totals[layer.name] = activity if total is None else total.add_(activity)

    def act(self, learner: Learner) -> None:
        """Sweep, and begin to count anew."""
        totals, self._totals = self._totals, {}
        stagnant = {name: relative_to_mean(total) < self.threshold for name, total in totals.items() if total.any()}
        recycle(learner, stagnant, moments=self.moments, target=self.target)

    def state_dict(self) -> dict[str, Any]:
        """Return what the trigger remembers, and the activity of each layer's units since the last sweep, added up."""
        return super().state_dict() | {"totals": {name: total.clone() for name, total in self._totals.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        super().load_state_dict(state)
        self._totals = {name: total.clone() for name, total in state["totals"].items()}


def _lengths(rows: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(rows.flatten(1), dim=1)
    return lengths
