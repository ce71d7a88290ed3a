"""Weight clipping: no weight grows beyond what an initialiser could have drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lopgym.agents.initialisers import bias_of
from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.promises import Promises
from lopgym.bounds import PositiveFloat


@mitigations.register(
    "weight_clipping",
    cite="arXiv:2407.01704 (weight clipping), and the authors' code, github.com/mohmdelsayed/weight-clipping",
    null={"kappa": math.inf},
    promises=Promises(function="no", touches=("hidden", "heads")),
)
@dataclass(kw_only=True, eq=False)
class WeightClipping(Mitigation):
    """Clip weights after every update: theta <- clamp(theta, -kappa / sqrt(fan_in), kappa / sqrt(fan_in)).

    1 / sqrt(fan_in) bounds what PyTorch's default initialiser draws, for weights and, with the fan-in of their layer,
    for biases. Bounded weights bound the function's Lipschitz constant and keep steps large relative to weights. Acts
    on hidden layers and heads; the authors' code for policies clips `log_std` too, by oversight, and this does not.
    The optimizer is not told: its moments may go on pushing against the bound. The target follows at its next
    update. It hurts where values or logits must be large, and at the first update: orthogonal initialisation, which
    PPO has, exceeds kappa = 1 in many entries, which are cut at once.

    Args:
        kappa: bound as a multiple of the initial one. More lets weights grow further; less holds them smaller.
    """

    kappa: PositiveFloat = 1.0

    @torch.no_grad()
    def after_step(self, learner: Learner) -> None:
        """Clip every weight and bias."""
        if math.isinf(self.kappa):
            return
        for _, module in learner.affines():
            bound = self.kappa / math.sqrt(module.weight[0].numel())
            module.weight.clamp_(-bound, bound)
            bias_of(module).clamp_(-bound, bound)
