"""Selective weight reinitialisation: draw anew the least useful weights, one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lopgym.agents.initialisers import Affine, Initialiser
from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.triggered import Periodic
from lopgym.agents.promises import Promises
from lopgym.agents.reset_units import forget
from lopgym.agents.triggers import When
from lopgym.bounds import Fraction, PositiveInt

UtilityName = Literal["gradient", "magnitude", "random"]
PruneName = Literal["proportional", "threshold"]

UTILITIES: Mapping[UtilityName, Callable[[Tensor, Tensor, torch.Generator], Tensor]] = {
    "gradient": lambda weight, gradient, rng: (weight * gradient).abs(),
    "magnitude": lambda weight, gradient, rng: weight.abs(),
    "random": lambda weight, gradient, rng: torch.rand(weight.shape, generator=rng).to(weight),
}


def proportional(utility: Tensor, factor: float, rng: torch.Generator) -> Tensor:
    """Mark a share `factor` of the weights, those of least utility: bool, shaped like `utility`.

    The fraction of a weight that is left over is one weight with that probability. Weights of equal utility, such as
    those of dead units, go by chance: by their place it would be the same few in every sweep.

    >>> proportional(torch.tensor([[3.0, 1.0], [0.0, 2.0]]), 0.5, torch.Generator())
    tensor([[False,  True],
            [ True, False]])
    """
    wanted = utility.numel() * factor
    count = int(wanted) + int(torch.rand((), generator=rng).item() < wanted % 1)
    chosen = torch.zeros(utility.numel(), dtype=torch.bool, device=utility.device)
    shuffled = torch.randperm(utility.numel(), generator=rng).to(utility.device)
    chosen[shuffled[utility.flatten()[shuffled].argsort(stable=True)[:count]]] = True
    return chosen.reshape(utility.shape)


def threshold(utility: Tensor, factor: float, rng: torch.Generator) -> Tensor:
    """Mark the weights whose utility is at most `factor` times the mean: bool, shaped like `utility`.

    >>> threshold(torch.tensor([[4.0, 1.0], [0.0, 3.0]]), 0.5, torch.Generator())
    tensor([[False,  True],
            [ True, False]])
    """
    return utility <= factor * utility.mean()


PRUNES: Mapping[PruneName, Callable[[Tensor, float, torch.Generator], Tensor]] = {
    "proportional": proportional,
    "threshold": threshold,
}


@mitigations.register(
    "swr",
    cite="arXiv:2508.00212 (selective weight reinitialization)",
    null={"factor": 0.0, "prune": "proportional"},
    promises=Promises("approximate", ("hidden", "moments"), unless={"moments": {"moments": (False,)}}),
)
@dataclass(kw_only=True, eq=False)
class SelectiveWeightReinitialisation(Periodic):
    """Draw anew the least useful weights of each hidden layer, one by one and whichever units they belong to.

    A weight w with gradient g is worth |g w|, its `gradient` utility in the update just made; or |w|, its `magnitude`;
    or a `random` number. Chosen are a share `factor` of the layer's weights, those worth least, or those worth at most
    `factor` times the mean. They are drawn from the layer's initialiser. The authors' code does this to every tensor
    that it is handed and can average utilities over updates; here it is the weights of hidden layers, biases and heads
    left alone, by one update's utility. The target network follows at its next update.
    It hurts with `gradient` utility where a whole layer's gradient is small: its weights go by chance.
    Reports `reset_weights`.

    Args:
        utility: what a weight is worth.
        prune: which are chosen: `proportional` or `threshold`.
        factor: share of the weights, or multiple of the mean. More forget more.
        when: a trigger: the word `updates` for every `every` updates, or another one.
        every: updates between two sweeps, if `when` is the word `updates`. Fewer leave a new weight less time to become
            useful.
        moments: also zero the optimizer's moments of the weights that were drawn anew.
    """

    utility: UtilityName = "gradient"
    prune: PruneName = "proportional"
    factor: Fraction = 0.01
    when: When = "updates"
    every: PositiveInt = 200
    moments: bool = True

    @torch.no_grad()
    def act(self, learner: Learner) -> None:
        """Sweep."""
        if self.factor:
            own = [(module, layer.initialiser) for layer in learner.layers for _, module in layer.affines()]
            learner.report({"reset_weights": sum(self._sweep(learner, *one) for one in own)})

    def _sweep(self, learner: Learner, module: Affine, initialiser: Initialiser) -> int:
        weight = module.weight
        if weight.grad is None:
            return 0
        utility = UTILITIES[self.utility](weight, weight.grad, learner.rng)
        chosen = PRUNES[self.prune](utility, self.factor, learner.rng)
        if not bool(chosen.any()):
            return 0
        drawn, _ = initialiser(module, learner.rng)
        weight[chosen] = drawn[chosen]
        if self.moments:
            forget(learner.optimizer, weight, chosen)
        return int(chosen.sum())
