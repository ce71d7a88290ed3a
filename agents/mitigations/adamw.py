"""AdamW: weights decay beside Adam's step, not through it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from lopgym.agents.mitigations import Mitigation, OptimizerFactory, mitigations
from lopgym.agents.mitigations.around import inside
from lopgym.agents.promises import Promises
from lopgym.bounds import NonNegativeFloat


@mitigations.register(
    "adamw",
    cite="arXiv:1711.05101 alg. 2",
    null={"weight_decay": 0.0},
    promises=Promises(function="n/a", touches=("hidden", "heads", "extra")),
)
@dataclass(kw_only=True, eq=False)
class AdamW(Mitigation):
    """Decoupled weight decay: theta <- (1 - lr * weight_decay) * theta, then Adam's step.

    An L2 penalty goes through Adam, which divides it by the size of the gradient, and so decays the weights least that
    move most; here all shrink alike. Decayed are weights, of hidden layers, heads and the auxiliary heads of `infer`;
    not biases, norm gains, learned slopes and `log_std`, which are vectors. The step stays the agent's Adam, its eps
    included. It hurts where outputs must be large, as values of long tasks are. Reports nothing.

    Args:
        weight_decay: share lost per update, as a multiple of the learning rate. More keeps weights small, and moves
            the network towards saying nothing.
    """

    weight_decay: NonNegativeFloat = 1e-2

    def wrap_optimizer(self, factory: OptimizerFactory) -> OptimizerFactory:
        """Make the same optimizer with two groups, one of which decays."""
        return inside(factory, self._decaying) if self.weight_decay else factory

    def _decaying(self, factory: OptimizerFactory) -> OptimizerFactory:
        def make(params: Iterable[Tensor], lr: float, **options: Any) -> Optimizer:
            every = list(params)
            weights, vectors = [p for p in every if p.ndim > 1], [p for p in every if p.ndim <= 1]
            groups = [{"params": weights, "weight_decay": self.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
            return factory([g for g in groups if g["params"]], lr=lr, decoupled_weight_decay=True, **options)

        return make
