"""TRAC: how far to go from the start, tuned while learning and without a parameter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.optim import Optimizer

from lopgym.agents.mitigations import Mitigation, OptimizerFactory, mitigations
from lopgym.agents.mitigations.around import Around, Outermost, evaluated
from lopgym.agents.promises import Promises
from lopgym.bounds import PositiveFloat

BETAS = (0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)  # discounts of the tuners
EPS = 1e-8
SCALE, VARIANCE, SIGMA = range(3)  # rows of a tuner's memory


def erfi(x: float) -> float:
    """Return the imaginary error function, 2 / sqrt(pi) * integral of exp(t^2) from 0 to x; inf where it overflows.

    >>> round(erfi(1.0), 12), erfi(-1.0) == -erfi(1.0), erfi(40.0)
    (1.650425758798, True, inf)
    """
    power = total = added = x
    n = 0
    while abs(added) > 1e-17 * abs(total):
        n += 1
        power *= x * x / n
        added = power / (2 * n + 1)
        total += added
    return 2 / math.sqrt(math.pi) * total


UNIT = erfi(math.sqrt(0.5))  # of a tuner whose sigma is as large as sqrt(v)


class Trac(Around):
    """Any optimizer, its distance from a reference point scaled by S = max(0, sum over betas of s).

    In the state of each parameter p: its `reference`, and the `way` that it has gone, p = reference + S * way. In that
    of the first one: `tuner`, rows scale s, variance v and sigma, a column for each beta. The way is of p's shape, so
    that resets, which zero what is remembered of entries, zero it; the others have axes in front and stay.

    Args:
        base: the optimizer inside.
        scale: s of a tuner whose sigma is as large as sqrt(v).
    """

    method = "trac"

    def __init__(self, base: Optimizer, scale: float) -> None:
        """Wrap `base`."""
        super().__init__(base)
        self.scale = scale

    def __getstate__(self) -> dict[str, object]:
        """Return what a copy needs."""
        return super().__getstate__() | {"scale": self.scale}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step of the inner optimizer, then scale the way from the references to where it led."""
        loss, moving = evaluated(closure), self.moving()
        if not moving:
            return loss
        before = [p.clone() for p in moving]
        self.step_base()
        references, ways, tuner = self._memories(moving, before)
        total = max(0.0, float(tuner[SCALE].sum()))
        # what others wrote since the last step moves the reference, or the next S would scale it
        left = torch._foreach_add(references, ways, alpha=total)
        torch._foreach_add_(references, torch._foreach_sub(before, left))
        torch._foreach_mul_(ways, total / (total + EPS))
        gradients = [p.grad for p in moving if p.grad is not None]
        h = sum(float(products.sum()) for products in torch._foreach_mul(ways, gradients))
        total = max(0.0, self._tune(tuner, h))
        torch._foreach_add_(ways, torch._foreach_sub(moving, before))
        torch._foreach_copy_(moving, torch._foreach_add(references, ways, alpha=total))
        return loss

    def _memories(self, moving: list[Tensor], before: list[Tensor]) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Return references, ways and tuner; what is new begins where its parameter was before the step."""
        for p, start in zip(moving, before, strict=True):
            if "reference" not in self.state[p]:
                self.state[p] |= {"reference": start.clone()[None], "way": torch.zeros_like(start)}
        states = [self.state[p] for p in moving]
        return [state["reference"][0] for state in states], [state["way"] for state in states], self._tuner(moving)[0]

    def _tuner(self, moving: list[Tensor]) -> Tensor:
        """Return the memory of the tuners, (1, 3, J), begun if there is none: s = 0, v = 0, sigma = 1e-8."""
        for p in moving:
            if "tuner" in self.state[p]:
                found: Tensor = self.state[p]["tuner"]
                return found
        fresh = torch.zeros(1, 3, len(BETAS), dtype=moving[0].dtype)
        fresh[0, SIGMA] = EPS
        self.state[moving[0]]["tuner"] = fresh
        return fresh

    def _tune(self, tuner: Tensor, h: float) -> float:
        """Let each tuner bet on the next h = <g, way from the reference>; return the sum of their scales.

        Raises:
            FloatingPointError: it is not finite.
        """
        before = tuner.tolist()
        variances = [beta**2 * variance + h * h for beta, variance in zip(BETAS, before[VARIANCE], strict=True)]
        sigmas = [beta * sigma - h for beta, sigma in zip(BETAS, before[SIGMA], strict=True)]
        bets = [erfi(s / (math.sqrt(2 * v) + EPS)) for s, v in zip(sigmas, variances, strict=True)]
        tuner.copy_(torch.tensor([[self.scale / UNIT * bet for bet in bets], variances, sigmas], dtype=torch.float64))
        total = float(tuner[SCALE].sum())
        if not math.isfinite(total):
            raise FloatingPointError(f"trac: the scale is {total} after <g, way> = {h}: the loss has no bound here")
        return total


@mitigations.register(
    "trac",
    cite="arXiv:2405.16642, as the authors' code has it",
    null=None,
    null_reason="it scales the way from the start at any setting",
    promises=Promises(function="n/a", touches=("hidden", "heads", "norms", "log_std", "extra")),
)
@dataclass(kw_only=True, eq=False)
class TracMitigation(Mitigation):
    """TRAC: keep the direction from the start that the optimizer found, and tune how far to go along it.

    theta = theta_ref + S * (theta_base - theta_ref), where theta_base is where the inner optimizer would be and
    theta_ref where training began. Each of six tuners, discounts beta = 0.9 to 0.999999, sums up what the way would
    have brought: with h = <g, theta_base - theta_ref>, v <- beta^2 v + h^2, sigma <- beta sigma - h,
    s = scale / erfi(1 / sqrt(2)) * erfi(sigma / (sqrt(2 v) + 1e-8)); S is the sum of the s, and no less than 0. So an
    agent whose way no longer pays falls back towards its start, where it was plastic.

    As in the authors' code, a step shortens the way by S / (S + 1e-8). There it is read off the weights, so that what
    another method writes would be blown up by the next S; here it is remembered, and what others write moves the
    reference: the sum stays. Where a reset forgets an entry's moments it forgets its way as well, so that the reference
    of a new unit is its new weights, and of all of them where the optimizer's state is cleared. It wraps whatever
    optimizer the other methods make, wherever it is listed. The target follows as ever. All parameters are affected.
    It hurts early: S begins near 0, and hardly a weight moves until the tuners have seen that it would have paid. And
    0 can be for good, with the authors' code as with this: there the weights are the reference, so that the way is
    forgotten, every h is 0, each sigma / sqrt(v) stays what it was, and S only comes back if tuners of short memory,
    which let go of their sums first, are the only ones below 0. The second update is a toss for it: where its gradient
    points along the first step, as that of another small minibatch may, all six turn negative at once and nothing is
    ever learned. Watch S, the sum of the first row of `tuner`, or take larger minibatches. Reports nothing.

    Args:
        scale: s of a tuner whose sigma is sqrt(v). More starts sooner; the theory wants it small.
    """

    scale: PositiveFloat = 1e-8

    def wrap_optimizer(self, factory: OptimizerFactory) -> OptimizerFactory:
        """Wrap what the others make."""
        return Outermost(partial(Trac, scale=self.scale), factory)
