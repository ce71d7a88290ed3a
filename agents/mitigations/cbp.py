"""Continual backprop: generate and test, all the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Interval
from numpy.typing import NDArray
from torch import Tensor

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.mitigations.listener import Listener
from lopgym.agents.mitigations.unit_utility import UTILITIES, Evidence, UtilityName, least
from lopgym.agents.network import Layer
from lopgym.agents.promises import Promises
from lopgym.agents.reset_units import reset_units
from lopgym.bounds import Fraction, NonNegativeInt


@dataclass
class Ledger:
    """What is known of one layer's units.

    Args:
        utility: running mean of it, (U,).
        mean: running mean of what they put out, (k U,), k being 1 of most activations; 0 where nothing asks for it.
        births: updates of the layer when each unit was born, (U,): NumPy counts a few small numbers faster than torch.
        updates: of the layer so far.
        due: replacements due.
    """

    utility: Tensor
    mean: Tensor
    births: NDArray[np.int64]
    updates: int = 0
    due: float = 0.0

    @property
    def age(self) -> Tensor:
        """Updates since birth, (U,)."""
        return torch.as_tensor(self.updates - self.births).to(self.utility)


@mitigations.register(
    "cbp",
    cite="arXiv:2108.06325 alg. 1; doi:10.1038/s41586-024-07711-7 eq. 1",
    null={"replacement_rate": 0.0},
    promises=Promises(
        function="approximate",
        touches=("hidden", "heads", "moments", "target"),
        unless={"moments": {"moments": (False,)}, "target": {"target": (False,)}},
    ),
)
@dataclass(kw_only=True, eq=False)
class ContinualBackprop(Mitigation):
    """Continual backprop: after every update, replace a small share of the mature units, those of least utility.

    Utility is a running mean of a unit's contribution, mean|h| * sum|w_out| (Dohare et al. 2024, eq. 1), over the
    minibatch just learned, all positions of an image and all outgoing weights. Units are ranked by the utility with
    the bias of the running mean's start at 0 corrected, u / (1 - decay^age), or newborn units would be the first to
    go again. What a unit contributed on average over that minibatch passes to the biases it fed (Dohare et al. 2021,
    who take a running mean of it: `compensation`; their released code zeroes that mean before it is used).
    It hurts where units that are rarely on are the ones that matter: over a minibatch they are worth little.
    Reports `reset_units`.

    `utility` has the six other choices of the authors' code. With h_mean the running mean of h, corrected likewise:
    `weight`, sum|w_out|; `zero_contribution`, mean|h - h_mean| * sum|w_out|; `adaptable_contribution`, that over
    sum|w_in| (Dohare et al. 2021); `feature_by_input`, mean|h - h_mean| / sum|w_in|; `adaptation`, 1 / sum|w_in|;
    and `random`, a new number for each unit whenever some are replaced.

    Args:
        replacement_rate: share of a layer's mature units replaced in an update; fractions add up until one is due.
            More renew faster and forget faster.
        maturity: a unit is mature, and can be replaced, when it is older than this many updates. Less is a shorter
            chance to become useful.
        decay: of the running means. More is a longer memory.
        utility: what a unit is worth.
        compensation: which mean activation passes to the biases: of the `minibatch`, or the `running` mean.
        moments: also zero the optimizer's moments of the weights that were reset.
        target: also reset the units in the target network.
    """

    replacement_rate: Fraction = 1e-3
    maturity: NonNegativeInt = 100
    decay: Annotated[float, Interval(ge=0, lt=1)] = 0.99
    utility: UtilityName = "contribution"
    compensation: Literal["minibatch", "running"] = "minibatch"
    moments: bool = True
    target: bool = False
    _ledgers: dict[str, Ledger] = field(default_factory=dict, init=False, repr=False)
    _listener: Listener = field(default_factory=Listener, init=False, repr=False)

    def begin(self, learner: Learner) -> None:
        """Listen to the hidden layers. Called late, after an update, it costs that update's activations."""
        if self.replacement_rate:
            self._listener.listen(learner.layers)

    def end(self, learner: Learner) -> None:
        """Stop listening."""
        self._listener.close()

    @torch.no_grad()
    def after_step(self, learner: Learner) -> None:
        """Age and judge every unit, then replace those that are due."""
        self.begin(learner)
        heard = self._listener.take()
        replaced = sum(self._step(learner, layer, heard[layer.name]) for layer in learner.layers if layer.name in heard)
        if replaced:
            learner.report({"reset_units": replaced})

    def _step(self, learner: Learner, layer: Layer, activation: Tensor) -> int:
        utility, ledger = UTILITIES[self.utility], self._ledger(layer, activation)
        ledger.updates += 1
        centred = utility.centred or self.compensation == "running"
        mean = self._running_mean(ledger, layer, activation) if centred else ledger.mean
        ledger.utility.lerp_(utility.of(Evidence(layer, activation, mean)), 1 - self.decay)
        mature = ledger.births < ledger.updates - self.maturity
        ledger.due += self.replacement_rate * np.count_nonzero(mature)
        if ledger.due < 1:
            return 0
        ranks = utility.judge(ledger.utility / (1 - self.decay**ledger.age), learner.rng)
        units = least(ranks, torch.as_tensor(mature, device=ranks.device), int(ledger.due))
        ledger.due -= int(ledger.due)
        ledger.utility.masked_fill_(units, 0.0)
        if centred:
            ledger.mean.masked_fill_(layer.numbers(units), 0.0)
        ledger.births[units.cpu().numpy()] = ledger.updates
        means = mean if self.compensation == "running" else layer.means(activation)
        return reset_units(learner, layer, units, compensate=means, moments=self.moments, target=self.target)

    def _ledger(self, layer: Layer, activation: Tensor) -> Ledger:
        if layer.name not in self._ledgers:
            nothing = torch.zeros_like(activation[0])
            self._ledgers[layer.name] = Ledger(nothing, layer.numbers(nothing), np.zeros(len(nothing), np.int64))
        return self._ledgers[layer.name]

    def _running_mean(self, ledger: Ledger, layer: Layer, activation: Tensor) -> Tensor:
        """Bring the mean activation up to date and return it, the bias of its start at 0 corrected."""
        ledger.mean.lerp_(layer.means(activation), 1 - self.decay)
        return ledger.mean / (1 - self.decay ** layer.numbers(ledger.age))

    def state_dict(self) -> dict[str, Any]:
        """Return the ledgers, by layer."""
        return {
            name: {what: getattr(ledger, what).clone() for what in ("utility", "age", "mean")} | {"due": ledger.due}
            for name, ledger in self._ledgers.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._ledgers = {
            name: Ledger(
                saved["utility"].clone(), saved["mean"].clone(), -saved["age"].long().cpu().numpy(), due=saved["due"]
            )
            for name, saved in state.items()
        }
