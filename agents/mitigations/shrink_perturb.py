"""Shrink and perturb: keep the direction of what was learned, and make room for what was not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from lopgym.agents.draws import normal_like
from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.forgetting import FORGETTING, trained
from lopgym.agents.mitigations.start import Start
from lopgym.agents.mitigations.triggered import Periodic
from lopgym.agents.promises import Promises
from lopgym.agents.triggers import When
from lopgym.agents.triggers.updates import Updates
from lopgym.bounds import Fraction, NonNegativeFloat, PositiveInt


@mitigations.register(
    "shrink_perturb",
    cite="arXiv:1910.08475 sec. 4; soft: arXiv:2405.19153",
    null={"shrink": 1.0, "perturb": 0.0},
    promises=Promises(
        function="no",
        touches=("hidden", "heads", "moments", "steps", "target"),
        synchronises=True,
        unless={
            "moments": {"optimizer": ("keep",)},
            "steps": {"optimizer": ("keep", "reset_moments")},
            "target": {"when": ("updates",)},
        },
    ),
)
@dataclass(kw_only=True, eq=False)
class ShrinkPerturb(Periodic):
    """Shrink and perturb: theta <- shrink * theta + perturb * noise, at a task change or every n updates.

    Acts on weights and biases of hidden layers and heads; norm gains and `log_std` stay. The target is synchronised,
    except between updates, where it follows at its own pace. The soft form is `when: updates` with a shrink just below
    1, such as 0.999, and little noise, such as gaussian of 0.005; the paper's is 0.999999 and fresh_init of 1e-6.
    It hurts where the old task comes back, and where it is strong and frequent: then it forgets as fast as it learns.

    Args:
        shrink: factor of the old weights. Lower forgets more and frees more.
        perturb: factor of the noise. Higher parts clones and wakes units sooner, and costs more of what was learned.
        when: a trigger: `task`, the true task change; the word `updates` for every `every` updates; or another one.
        every: updates between two acts, if `when` is the word `updates`. Fewer forget faster.
        noise: `fresh_init`: a newly initialised network, another one each time; `fixed_init`: the network as it was at
            first, the same each time, so that weights are pulled to it; `gaussian`: standard normal numbers.
        optimizer: `keep` leaves its state; `reset_moments` zeroes what it remembers of the perturbed weights, but not
            its step count, so that first steps are long, as `optimizer_reset` says; `clear` forgets all.
    """

    shrink: Fraction = 0.5
    perturb: NonNegativeFloat = 0.5
    when: When = "task"
    every: PositiveInt = 1
    noise: Literal["fresh_init", "fixed_init", "gaussian"] = "fresh_init"
    optimizer: Literal["keep", "reset_moments", "clear"] = "keep"
    _start: Start = field(default_factory=Start, init=False, repr=False)

    def begin(self, learner: Learner) -> None:
        """Remember where the weights began, if that is the noise."""
        super().begin(learner)
        if self.noise == "fixed_init":
            self._start.remember(learner)

    @torch.no_grad()
    def act(self, learner: Learner) -> None:
        """Shrink and perturb; then synchronise the target, unless it follows by itself."""
        if (self.shrink, self.perturb) == (1.0, 0.0):
            return
        parameters = list(learner.weights_and_biases())
        for parameter, noise in zip(parameters, NOISES[self.noise](learner, self._start), strict=True):
            parameter.mul_(self.shrink).add_(noise, alpha=self.perturb)
        forgotten = trained(learner.optimizer) if self.optimizer == "clear" else parameters
        FORGETTING[self.optimizer](learner.optimizer, forgotten)
        if not isinstance(self._trigger, Updates):
            learner.synchronise_target()

    def state_dict(self) -> dict[str, Any]:
        """Return what the trigger remembers, and the weights at the start if they are the noise."""
        return super().state_dict() | self._start.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        super().load_state_dict(state)
        self._start.load_state_dict(state)


def fresh_init(learner: Learner, start: Start | None = None) -> list[Tensor]:
    """Draw a new network; return what it has for each of `learner.weights_and_biases()`."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in learner.network.named_parameters()}
    fresh = learner.fresh()
    return [fresh[names[parameter]] for parameter in learner.weights_and_biases()]


def _fixed_init(learner: Learner, start: Start) -> list[Tensor]:
    return start.weights(learner)


def _gaussian(learner: Learner, start: Start) -> list[Tensor]:
    return [normal_like(p, learner.rng) for p in learner.weights_and_biases()]


NOISES: Mapping[str, Callable[[Learner, Start], list[Tensor]]] = {
    "fresh_init": fresh_init,
    "fixed_init": _fixed_init,
    "gaussian": _gaussian,
}
