"""UPGD: weights of use are protected, the others are moved and shaken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor
from torch.optim import Optimizer

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, OptimizerFactory, mitigations
from lopgym.agents.mitigations.around import evaluated, innermost, inside, plain_adam
from lopgym.agents.promises import Promises
from lopgym.bounds import NonNegativeFloat


class UPGD(Optimizer):
    """Utility-based perturbed gradient descent.

    Args:
        params: what to train.
        options: lr, betas, eps, weight_decay, decay, sigma, adaptive; see `UtilityPerturbed`.
    """

    method = "upgd"

    def __init__(self, params: Iterable[Any], **options: Any) -> None:
        """Keep the options; until it is given a generator, `rng`, noise comes from one of its own."""
        super().__init__(params, options)
        self.rng = torch.Generator()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Be a copy, which has a generator of its own."""
        super().__setstate__(state)
        self.__dict__.setdefault("rng", torch.Generator())

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Judge every weight, then move and shake each by what it is not worth."""
        loss = evaluated(closure)
        moving = [(p, p.grad, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        for p, gradient, group in moving:
            self._remember(p, gradient, group)
        greatest = max((float(self.state[p]["utility"].max()) for p, _, _ in moving), default=0.0)
        for p, gradient, group in moving:
            self._move(p, gradient, group, greatest)
        return loss

    def _remember(self, p: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            names = ("utility", "exp_avg", "exp_avg_sq") if group["adaptive"] else ("utility",)
            state.update({name: torch.zeros_like(p) for name in names} | {"step": torch.tensor(0.0)})
        state["step"] += 1
        state["utility"].lerp_(-gradient * p, 1 - group["decay"])
        if group["adaptive"]:
            beta1, beta2 = group["betas"]
            state["exp_avg"].lerp_(gradient, 1 - beta1)
            state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)

    def _move(self, p: Tensor, gradient: Tensor, group: dict[str, Any], greatest: float) -> None:
        state, step = self.state[p], float(self.state[p]["step"])
        utility = state["utility"] / (1 - group["decay"] ** step)
        # without a weight of positive utility none is protected: dividing by a negative one would protect the worst
        spared = torch.sigmoid(utility / max(greatest, torch.finfo(p.dtype).tiny))
        way = _adams(state, step, group) if group["adaptive"] else gradient
        noise = torch.empty_like(p).normal_(generator=self.rng).mul_(group["sigma"])
        p.mul_(1 - group["lr"] * group["weight_decay"]).add_((way + noise) * (1 - spared), alpha=-2 * group["lr"])


def _adams(state: dict[str, Tensor], step: float, group: dict[str, Any]) -> Tensor:
    beta1, beta2 = group["betas"]
    size = (state["exp_avg_sq"] / (1 - beta2**step)).sqrt_() + float(group["eps"])
    way: Tensor = state["exp_avg"] / (1 - beta1**step) / size
    return way


@mitigations.register(
    "upgd",
    cite="arXiv:2404.00781 (weight-wise, first order, global), as the authors' code has it",
    null=None,
    null_reason="without noise and decay the step is still gated, and no longer Adam's",
    promises=Promises(function="n/a", touches=("hidden", "heads", "norms", "log_std", "extra")),
)
@dataclass(kw_only=True, eq=False)
class UtilityPerturbed(Mitigation):
    """UPGD: a weight of use is protected from change, the others follow the gradient and are shaken by noise.

    A weight's use is what the loss would gain by its removal, to first order u = -g * theta, as a running mean. With
    s = sigmoid(u / max u), the maximum over the whole network,
    theta <- (1 - lr * weight_decay) * theta - 2 * lr * (d + xi) * (1 - s), xi ~ N(0, sigma^2); d is Adam's direction,
    or the gradient itself. At u = 0 the step is Adam's own: 2 * (1 - s) = 1.

    As in the authors' code u is corrected for the start of its mean and the maximum is not, so that the gate is nearly
    shut or open at first; they divide by a maximum that is not positive too, where here nothing is protected. Betas and
    eps are those of the agent's Adam (theirs: 1e-5). All parameters decay and are shaken, `log_std` and norm gains as
    well, as there. The target follows as ever. It hurts where the gradient is small beside sigma: weights then walk at
    random. Reports nothing.

    Args:
        adaptive: step along Adam's direction (AdaUPGD) instead of the gradient.
        decay: of the running mean of utilities. More is a longer memory.
        sigma: of the noise, beside a direction whose entries are about 1. More renews faster and forgets faster.
        weight_decay: share of every parameter lost per update, as a multiple of the learning rate.
    """

    adaptive: bool = True
    decay: Annotated[float, Interval(ge=0, lt=1)] = 0.999
    sigma: NonNegativeFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-3

    def wrap_optimizer(self, factory: OptimizerFactory) -> OptimizerFactory:
        """Put UPGD in the place of Adam."""
        return inside(factory, self._instead)

    def begin(self, learner: Learner) -> None:
        """Give the noise its generator."""
        optimizer = innermost(learner.optimizer)
        if isinstance(optimizer, UPGD):
            optimizer.rng = learner.rng

    def _instead(self, factory: OptimizerFactory) -> OptimizerFactory:
        def make(params: Iterable[Any], lr: float, **options: Any) -> Optimizer:
            adam = plain_adam("upgd", factory, params, lr, **options)
            own = {name: getattr(self, name) for name in ("adaptive", "decay", "sigma", "weight_decay")}
            parameters = [p for group in adam.param_groups for p in group["params"]]
            return UPGD(parameters, lr=lr, betas=adam.defaults["betas"], eps=adam.defaults["eps"], **own)

        return make
