"""SNR, self-normalised resets: a unit that is silent for longer than it ever used to be begins anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.mitigations.listener import Listener
from lopgym.agents.mitigations.recycling import RECYCLES, recycle
from lopgym.bounds import Fraction, PositiveInt

Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]


@dataclass
class Silences:
    """Of one layer: updates that each unit has been silent (U,), its limit (U,), and how often which length was seen.

    Column a of `seen`, (U, longest + 1), counts silences of a updates. All are NumPy's, which counts a few small
    numbers faster than torch.
    """

    now: Counts
    limit: Counts
    seen: NDArray[np.int32]

    def count(self, fires: Flags) -> Flags:
        """Take in which units fired in an update, (U,); return whose silence reached its limit and ends, (U,)."""
        silent = ~fires
        lengths = self.now + silent  # of the silences: those that ended now, and those that go on
        going_on = silent & (lengths < self.limit)
        self.now = lengths * going_on
        (units,) = (ended := lengths - self.now).nonzero()
        if len(units):
            self.seen[units, ended[units]] += 1
        return silent ^ going_on

    def adapt(self, eta: float) -> None:
        """Move the limits, and begin to count lengths anew."""
        up_to = self.seen[:, 1:].cumsum(1)  # number of silences of at most 1, 2 ... updates
        percentile = (up_to >= (1 - eta) * up_to[:, -1:]).argmax(1) + 1  # the first; 1 where there were none
        doubled = np.minimum(2 * self.limit, up_to.shape[1])
        self.limit = np.where(percentile < self.limit, percentile, doubled)
        self.seen[:] = 0


@mitigations.register("snr", cite="arXiv:2410.20098, as its code has it", null={"eta": 0.0}, promises=RECYCLES)
@dataclass(kw_only=True, eq=False)
class SelfNormalisedResets(Mitigation):
    """Self-normalised resets: reset a unit once it has been silent for longer than nearly all its silences before.

    A unit is silent in an update if it is <= 0 on the whole minibatch, all positions of an image, and is reset when
    its silence reaches its own limit. Every `adapt_every` updates the limit becomes the 1 - eta percentile of the
    lengths of the silences that ended since, by firing or by a reset, if that is below the limit; else it doubles.
    Lengths are counted in updates where the authors' code counts samples by whole minibatches, which is the same. As
    there, a unit without any such silence gets the least limit, 1: it is reset at its first silent minibatch.
    It is made for ReLU: sine and cosine (`fourier`) are hardly ever silent. It hurts with small minibatches, and where
    a task leaves units silent that a later one needs.
    Reports `reset_units`, in all and by layer, in updates in which some were.

    Args:
        eta: share of its silences that a unit may expect to be longer. More reset sooner; at 0 nothing is ever reset.
        limit: of a silence in updates, at first.
        adapt_every: updates between two changes of the limits. Fewer judge by less.
        longest: what no limit exceeds. More need more memory, of units times this.
        moments: also zero the optimizer's moments of the weights that were reset.
        target: also reset the units in the target network.
    """

    eta: Fraction = 0.01
    limit: PositiveInt = 100
    adapt_every: PositiveInt = 1000
    longest: PositiveInt = 1000
    moments: bool = True
    target: bool = False
    _silences: dict[str, Silences] = field(default_factory=dict, init=False, repr=False)
    _listener: Listener = field(default_factory=Listener, init=False, repr=False)

    def begin(self, learner: Learner) -> None:
        """Listen to the hidden layers. Called late, after an update, it costs that update's activations."""
        if self.eta:
            self._listener.listen(learner.layers)

    def end(self, learner: Learner) -> None:
        """Stop listening."""
        self._listener.close()

    @torch.no_grad()
    def after_step(self, learner: Learner) -> None:
        """Count silences, end those that are too long, and now and then move the limits."""
        self.begin(learner)
        heard = {name: rows.amax(0).cpu().numpy() > 0 for name, rows in self._listener.take().items()}
        too_long = {name: self._silences_of(name, len(fires)).count(fires) for name, fires in heard.items()}
        if any(map(np.count_nonzero, too_long.values())):
            device = learner.layers[0].incoming.weight.device
            chosen = {name: torch.as_tensor(units, device=device) for name, units in too_long.items()}
            recycle(learner, chosen, moments=self.moments, target=self.target)
        if learner.updates % self.adapt_every == 0:
            for silences in self._silences.values():
                silences.adapt(self.eta)

    def _silences_of(self, name: str, units: int) -> Silences:
        if name not in self._silences:
            limits = np.full(units, min(self.limit, self.longest))
            self._silences[name] = Silences(
                np.zeros(units, np.int64), limits, np.zeros((units, self.longest + 1), np.int32)
            )
        return self._silences[name]

    def state_dict(self) -> dict[str, Any]:
        """Return the silences, by layer."""
        return {
            name: {what: torch.as_tensor(value).clone() for what, value in vars(silences).items()}
            for name, silences in self._silences.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._silences = {
            name: Silences(**{what: value.numpy().copy() for what, value in saved.items()})
            for name, saved in state.items()
        }
