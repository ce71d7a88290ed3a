"""ReDo at a fixed rate: recycle a given share of each layer, chosen by a score; the controls of the ReDo paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.recycling import RECYCLES, recent_activations, recycle
from lopgym.agents.mitigations.triggered import Triggered
from lopgym.agents.mitigations.unit_utility import UTILITIES, Evidence
from lopgym.agents.network import Layer
from lopgym.agents.triggers import Trigger, When
from lopgym.agents.triggers.updates import Updates
from lopgym.bounds import Fraction, PositiveInt
from lopgym.probes.dormant import dormancy_scores

ScoreName = Literal["redo", "redo_inverted", "random", "cbp"]
Score = Callable[[Layer, Tensor, torch.Generator], Tensor]
PERIOD = 200  # updates between two sweeps, if `when` is the word `updates`


def _shuffled(layer: Layer, activation: Tensor, rng: torch.Generator) -> Tensor:
    scores = dormancy_scores(activation)
    return scores[torch.randperm(len(scores), generator=rng).to(scores.device)]


def _cbp(layer: Layer, activation: Tensor, rng: torch.Generator) -> Tensor:
    return UTILITIES["adaptable_contribution"].of(Evidence(layer, activation, layer.means(activation)))


SCORES: Mapping[ScoreName, Score] = {
    "redo": lambda layer, activation, rng: dormancy_scores(activation),
    "redo_inverted": lambda layer, activation, rng: -dormancy_scores(activation),
    "random": _shuffled,
    "cbp": _cbp,
}


@mitigations.register(
    "redo_fixed_rate",
    cite="arXiv:2302.12902 (its code: NeuronRecyclerScheduled)",
    null={"rate": 0.0},
    promises=RECYCLES,
)
@dataclass(kw_only=True, eq=False)
class ReDoFixedRate(Triggered):
    """Recycle a given share of each layer's units, those of least score, whether they are dormant or not.

    The share begins at `rate` and falls as rate * cos(pi/2 * updates / until), then nothing happens any more. It is
    rounded to at least one unit of each layer; units that score alike stand or fall together, so that of many dead
    ones all go. Scores, as in the authors' code: `redo`, the dormancy score; `redo_inverted`, its negative, so that the
    most active units go; `random`, the dormancy scores dealt out anew among the units; `cbp`,
    mean|h - mean h| * sum|w_out| / sum|w_in|. All layers are judged on one batch, before any unit is reset.
    It hurts where no unit is superfluous, as some go all the same. Reports `reset_units`, in all and by layer.

    Args:
        score: what units are ranked by; the least go.
        rate: share of a layer's units that is recycled at first. More forget more.
        until: updates after which it ends.
        when: a trigger: the word `updates` for every 200 updates, or another one. More often leaves a new unit less
            time to become useful.
        batch: recent observations on which units are judged. More cost more.
        moments: also zero the optimizer's moments of the weights that were reset.
        target: also reset the units in the target network.
    """

    score: ScoreName = "redo"
    rate: Fraction = 0.3
    until: PositiveInt = 10**8
    when: When = "updates"
    batch: PositiveInt = 256
    moments: bool = True
    target: bool = False

    def make_trigger(self) -> Trigger:
        """Return the trigger that `when` means."""
        return Updates(every=PERIOD) if self.when == "updates" else super().make_trigger()

    @torch.no_grad()
    def act(self, learner: Learner) -> None:
        """Sweep, before `until`."""
        if learner.updates >= self.until or not self.rate:
            return
        share = self.rate * math.cos(math.pi / 2 * learner.updates / self.until)
        seen = recent_activations(learner, self.batch)
        chosen = {
            layer.name: least_share(SCORES[self.score](layer, seen[layer.name], learner.rng), share)
            for layer in learner.layers
        }
        recycle(learner, chosen, moments=self.moments, target=self.target)


def least_share(scores: Tensor, share: float) -> Tensor:
    """Mark the units whose score is no greater than that of the last that `share` allows: bool (U,); at least one.

    >>> least_share(torch.tensor([3.0, 0.0, 0.0, 2.0]), 0.25)
    tensor([False,  True,  True, False])
    """
    count = max(1, round(len(scores) * share))
    return scores <= scores.sort().values[count - 1]
