"""Continual backprop: generate and test, all the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.mitigations.listener import Listener
from lopgym.agents.network import Layer
from lopgym.agents.reset_units import reset_units
from lopgym.bounds import Fraction, NonNegativeInt


@dataclass
class Ledger:
    """What is known of one layer's units: running utility (U,), updates since birth (U,), replacements due."""

    utility: Tensor
    age: Tensor
    due: float = 0.0


@mitigations.register(
    "cbp",
    cite="arXiv:2108.06325 alg. 1; doi:10.1038/s41586-024-07711-7 eq. 1",
    null={"replacement_rate": 0.0},
)
@dataclass(kw_only=True, eq=False)
class ContinualBackprop(Mitigation):
    """Continual backprop: after every update, replace a small share of the mature units, those of least utility.

    Utility is a running mean of a unit's contribution, mean|h| * sum|w_out| (Dohare et al. 2024, eq. 1), over the
    minibatch just learned, all positions of an image and all outgoing weights. Units are ranked by the utility with
    the bias of the running mean's start at 0 corrected, u / (1 - decay^age), or newborn units would be the first to
    go again. What a unit contributed on average over that minibatch passes to the biases it fed (Dohare et al. 2021,
    who take a running mean of it).
    Reports `reset_units`.

    Args:
        replacement_rate: share of a layer's mature units replaced in an update; fractions add up until one is due.
        maturity: a unit is mature, and can be replaced, when it is older than this many updates.
        decay: of the running mean.
        moments: also zero the optimizer's moments of the weights that were reset.
        target: also reset the units in the target network.
    """

    replacement_rate: Fraction = 1e-3
    maturity: NonNegativeInt = 100
    decay: Annotated[float, Interval(ge=0, lt=1)] = 0.99
    moments: bool = True
    target: bool = False
    _ledgers: dict[str, Ledger] = field(default_factory=dict, init=False, repr=False)
    _listener: Listener = field(default_factory=Listener, init=False, repr=False)

    def begin(self, learner: Learner) -> None:
        """Listen to the hidden layers. Called late, after an update, it costs that update's activations."""
        if self.replacement_rate:
            self._listener.listen(learner.layers)

    @torch.no_grad()
    def after_step(self, learner: Learner) -> None:
        """Age and judge every unit, then replace those that are due."""
        self.begin(learner)
        heard = self._listener.take()
        replaced = sum(self._step(learner, layer, heard[layer.name]) for layer in learner.layers if layer.name in heard)
        if replaced:
            learner.report({"reset_units": replaced})

    def _step(self, learner: Learner, layer: Layer, activation: Tensor) -> int:
        mean = activation.abs().mean(0)
        ledger = self._ledgers.setdefault(layer.name, Ledger(torch.zeros_like(mean), torch.zeros_like(mean)))
        ledger.age += 1
        ledger.utility.lerp_(mean * outgoing_magnitude(layer), 1 - self.decay)
        mature = ledger.age > self.maturity
        ledger.due += self.replacement_rate * int(mature.sum())
        if ledger.due < 1:
            return 0
        units = least(ledger.utility / (1 - self.decay**ledger.age), mature, int(ledger.due))
        ledger.due -= int(ledger.due)
        ledger.utility[units], ledger.age[units] = 0.0, 0.0
        means = activation.mean(0)
        return reset_units(learner, layer, units, compensate=means, moments=self.moments, target=self.target)

    def state_dict(self) -> dict[str, Any]:
        """Return utility, age and replacements due, by layer."""
        return {
            name: {"utility": ledger.utility.clone(), "age": ledger.age.clone(), "due": ledger.due}
            for name, ledger in self._ledgers.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._ledgers = {
            name: Ledger(saved["utility"].clone(), saved["age"].clone(), saved["due"]) for name, saved in state.items()
        }


def outgoing_magnitude(layer: Layer) -> Tensor:
    """Sum |w| over all weights that read each unit: (U,)."""
    units = len(layer.incoming.weight)
    by_module = [m.weight.abs().reshape(len(m.weight), units, -1).sum((0, 2)) for m in layer.outgoing]
    return torch.stack(by_module).sum(0)


def least(utility: Tensor, eligible: Tensor, count: int) -> Tensor:
    """Mark the `count` eligible units of least utility, or all of them if they are fewer: bool (U,).

    >>> least(torch.tensor([3.0, 0.0, 2.0, 1.0]), torch.tensor([True, False, True, True]), 2)
    tensor([False, False,  True,  True])
    """
    order = utility.masked_fill(~eligible, torch.inf).argsort(stable=True)[:count]
    chosen = torch.zeros_like(eligible)
    chosen[order] = True
    return chosen & eligible
