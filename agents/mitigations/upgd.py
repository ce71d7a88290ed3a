"""UPGD: weights of use are protected, the others are moved and shaken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor
from torch.optim import Optimizer

from lopgym.agents.draws import normal_like
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
        moving = [(group, [p for p in group["params"] if p.grad is not None]) for group in self.param_groups]
        moving = [(group, parameters) for group, parameters in moving if parameters]
        for group, parameters in moving:
            self._remember(parameters, group)
        most = [gain for _, parameters in moving for gain in torch._foreach_max(self._memory("utility", parameters))]
        greatest = max(map(float, most), default=0.0)
        for group, parameters in moving:
            self._move(parameters, group, greatest)
        return loss

    def _memory(self, name: str, parameters: list[Tensor]) -> list[Tensor]:
        return [self.state[p][name] for p in parameters]

    def _remember(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        names = ("utility", "exp_avg", "exp_avg_sq") if group["adaptive"] else ("utility",)
        for p in parameters:
            if not self.state[p]:
                self.state[p].update({name: torch.zeros_like(p) for name in names} | {"step": torch.tensor(0.0)})
        torch._foreach_add_(self._memory("step", parameters), 1)
        gradients = _gradients(parameters)
        gains = torch._foreach_neg(torch._foreach_mul(gradients, parameters))
        torch._foreach_lerp_(self._memory("utility", parameters), gains, 1 - group["decay"])
        if group["adaptive"]:
            beta1, beta2 = group["betas"]
            torch._foreach_lerp_(self._memory("exp_avg", parameters), gradients, 1 - beta1)
            torch._foreach_mul_(squares := self._memory("exp_avg_sq", parameters), beta2)
            torch._foreach_addcmul_(squares, gradients, gradients, value=1 - beta2)

    def _move(self, parameters: list[Tensor], group: dict[str, Any], greatest: float) -> None:
        steps = [float(step) for step in self._memory("step", parameters)]
        spared = self._mean("utility", parameters, group["decay"], steps)
        # without a weight of positive utility none is protected: dividing by a negative one would protect the worst
        torch._foreach_div_(spared, max(greatest, torch.finfo(parameters[0].dtype).tiny))
        torch._foreach_sigmoid_(spared)
        ways = [normal_like(p, self.rng) for p in parameters]
        torch._foreach_mul_(ways, group["sigma"])
        adaptive = group["adaptive"]
        torch._foreach_add_(ways, self._adams(parameters, group, steps) if adaptive else _gradients(parameters))
        torch._foreach_mul_(ways, torch._foreach_add(torch._foreach_neg(spared), 1))
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, ways, alpha=-2 * group["lr"])

    def _adams(self, parameters: list[Tensor], group: dict[str, Any], steps: list[float]) -> tuple[Tensor, ...]:
        beta1, beta2 = group["betas"]
        sizes = self._mean("exp_avg_sq", parameters, beta2, steps)
        torch._foreach_sqrt_(sizes)
        torch._foreach_add_(sizes, float(group["eps"]))
        return torch._foreach_div(self._mean("exp_avg", parameters, beta1, steps), sizes)

    def _mean(self, name: str, parameters: list[Tensor], decay: float, steps: list[float]) -> tuple[Tensor, ...]:
        """Return a running mean, the bias of its start at 0 corrected."""
        return torch._foreach_div(self._memory(name, parameters), [1 - decay**step for step in steps])


def _gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


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
    or the gradient itself. At u = 0 the step is Adam's own: 2 * (1 - s) = 1. The factor 2 is that of
    the authors' code for PPO; that for supervised learning, which steps along the gradient, has none.

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
