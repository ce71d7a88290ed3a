"""DrM's perturbation: the more units are dormant, the more of the network is drawn anew."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.extra_passes import decides
from lopgym.agents.mitigations.forgetting import clear, trained
from lopgym.agents.mitigations.recycling import recent_activations
from lopgym.agents.mitigations.shrink_perturb import fresh_init
from lopgym.agents.mitigations.triggered import Periodic
from lopgym.agents.promises import Promises
from lopgym.agents.triggers import When
from lopgym.bounds import Fraction, NonNegativeFloat, PositiveInt
from lopgym.probes.dormant import dormancy_scores


@mitigations.register(
    "drm",
    cite="arXiv:2310.19668 (perturbation); the authors' code",
    null={"when": {"kind": "updates", "every": 10**9}},
    promises=Promises(function="no", touches=("hidden", "heads", "moments", "steps", "target")),
)
@dataclass(kw_only=True, eq=False)
class DrM(Periodic):
    """DrM's perturbation: theta <- alpha theta + (1 - alpha) theta', with less of the old the more units are dormant.

    alpha = clip(1 - rate * d, least, most); theta' is a new network, d the share of the hidden units of the network
    that acts, actor or Q network, that are dormant on one batch, all layers together (definition 3.1 of ReDo). The
    optimizer forgets all, and the target is mixed with the same theta' and keeps its lag.

    It is the perturbation alone: DrM (Xu et al. 2023) also explores by dormancy and adds a value target. Its code
    judges a unit by its pre-activation, counts outputs as units, draws a second theta' for the target, leaves
    convolutions alone, and sets `most` task by task, from 0.6 to 1. Even without dormant units 1 - `most` of the
    network is lost, which hurts short tasks. Reports `acts` and the sum of `dormant_fraction` over them.

    Args:
        rate: how fast dormancy costs old weights. Higher comes to `least` at fewer dormant units.
        least: share of the old weights that always stays. Lower forgets more of a dormant network.
        most: share of the old weights that stays if no unit is dormant. 1 leaves a healthy network alone.
        tau: greatest score of a dormant unit. Higher counts more units as dormant.
        batch: recent observations on which units are judged. More spare units that are rarely on, and cost more.
        when: a trigger: the word `updates` for every `every` updates, or another one.
        every: updates between two acts, if `when` is the word `updates`. Fewer lose more of what was learned.

    Raises:
        ValueError: `least` is above `most`.
    """

    rate: NonNegativeFloat = 2.0
    least: Fraction = 0.2
    most: Fraction = 0.9
    tau: NonNegativeFloat = 0.025
    batch: PositiveInt = 256
    when: When = "updates"
    every: PositiveInt = 100_000

    def __post_init__(self) -> None:
        """Refuse an empty range."""
        super().__post_init__()
        if self.least > self.most:
            raise ValueError(f"drm: least={self.least} is above most={self.most}")

    @torch.no_grad()
    def act(self, learner: Learner) -> None:
        """Mix, and forget."""
        dormant = self.dormant(learner)
        alpha = min(max(self.least, 1.0 - self.rate * dormant), self.most)
        drawn = fresh_init(learner)
        for parameters in (list(learner.weights_and_biases()), _twins(learner)):
            for parameter, fresh in zip(parameters, drawn[: len(parameters)], strict=True):
                parameter.mul_(alpha).add_(fresh, alpha=1.0 - alpha)
        clear(learner.optimizer, trained(learner.optimizer))
        learner.report({"dormant_fraction": dormant, "acts": 1})

    def dormant(self, learner: Learner) -> float:
        """Return the share of dormant units of the network that acts."""
        seen = recent_activations(learner, self.batch)
        dormant = [dormancy_scores(activation) <= self.tau for name, activation in seen.items() if decides(name)]
        return float(torch.cat(dormant).double().mean())


def _twins(learner: Learner) -> list[Tensor]:
    """Return the target's tensors of the same names as `learner.weights_and_biases()`, none if there is no target."""
    if learner.target is None:
        return []
    names: dict[Tensor, str] = {parameter: name for name, parameter in learner.network.named_parameters()}
    twins = dict(learner.target.named_parameters())
    return [twins[names[parameter]] for parameter in learner.weights_and_biases()]
