"""Shrink and perturb: keep the direction of what was learned, and make room for what was not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.bounds import Fraction, NonNegativeFloat, PositiveInt
from lopgym.registry import nearest


@mitigations.register(
    "shrink_perturb",
    cite="arXiv:1910.08475 sec. 4; soft: arXiv:2405.19153",
    null={"shrink": 1.0, "perturb": 0.0},
    oracle=True,  # by default; when="updates" does without the task signal
)
@dataclass(kw_only=True, eq=False)
class ShrinkPerturb(Mitigation):
    """Shrink and perturb: theta <- shrink * theta + perturb * noise, at a task change or every n updates.

    Acts on weights and biases of hidden layers and heads; norm gains and `log_std` stay. At a task change the target
    is synchronised; between updates it follows at its own pace. The soft form is `when: updates` with a shrink just
    below 1, such as 0.999, and little noise, such as gaussian of 0.005; the paper's is 0.999999 and fresh_init of 1e-6.

    Args:
        shrink: factor of the old weights.
        perturb: factor of the noise.
        when: `task`: at a task change, which takes the true task signal; `updates`: every `every` updates.
        every: updates between two acts.
        noise: `fresh_init`: a newly initialised network; `gaussian`: standard normal numbers.
        optimizer: `keep` leaves its state; `reset_moments` zeroes what it remembers of the perturbed weights, but not
            its step count; `clear` forgets all.

    Raises:
        ValueError: a choice that does not exist.
    """

    shrink: Fraction = 0.5
    perturb: NonNegativeFloat = 0.5
    when: Literal["task", "updates"] = "task"
    every: PositiveInt = 1
    noise: Literal["fresh_init", "gaussian"] = "fresh_init"
    optimizer: Literal["keep", "reset_moments", "clear"] = "keep"

    def __post_init__(self) -> None:
        """Refuse unknown choices now, not at the first task change."""
        super().__post_init__()
        for option, known in {"when": ("task", "updates"), "noise": NOISES, "optimizer": OPTIMIZERS}.items():
            if (choice := getattr(self, option)) not in known:
                raise ValueError(f"shrink_perturb: {option}={choice!r} does not exist; {nearest(choice, known)}")

    def after_step(self, learner: Learner) -> None:
        """Act every `every` updates."""
        if self._acts("updates") and learner.updates % self.every == 0:
            self._act(learner)

    def on_task_change(self, learner: Learner) -> None:
        """Act, then synchronise the target."""
        if self._acts("task"):
            self._act(learner)
            learner.synchronise_target()

    def _acts(self, when: str) -> bool:
        return self.when == when and (self.shrink, self.perturb) != (1.0, 0.0)

    @torch.no_grad()
    def _act(self, learner: Learner) -> None:
        parameters = list(learner.weights_and_biases())
        for parameter, noise in zip(parameters, NOISES[self.noise](learner), strict=True):
            parameter.mul_(self.shrink).add_(noise, alpha=self.perturb)
        OPTIMIZERS[self.optimizer](learner)


def _fresh_init(learner: Learner) -> list[Tensor]:
    names: dict[Tensor, str] = {parameter: name for name, parameter in learner.network.named_parameters()}
    fresh = learner.fresh()
    return [fresh[names[parameter]] for parameter in learner.weights_and_biases()]


def _gaussian(learner: Learner) -> list[Tensor]:
    return [torch.empty_like(p).normal_(generator=learner.rng) for p in learner.weights_and_biases()]


def _keep(learner: Learner) -> None:
    pass


def _reset_moments(learner: Learner) -> None:
    for parameter in learner.weights_and_biases():
        for memory in learner.optimizer.state.get(parameter, {}).values():
            if isinstance(memory, Tensor) and memory.shape == parameter.shape:
                memory.zero_()


def _clear(learner: Learner) -> None:
    learner.optimizer.state.clear()


NOISES: Mapping[str, Callable[[Learner], list[Tensor]]] = {"fresh_init": _fresh_init, "gaussian": _gaussian}
OPTIMIZERS: Mapping[str, Callable[[Learner], None]] = {
    "keep": _keep,
    "reset_moments": _reset_moments,
    "clear": _clear,
}
