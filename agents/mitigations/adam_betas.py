"""Adam with matched betas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from annotated_types import Interval

from lopgym.agents.mitigations import Mitigation, OptimizerFactory, mitigations
from lopgym.agents.promises import Promises

Beta = Annotated[float, Interval(ge=0, lt=1)]
PLAIN = (0.9, 0.999)


@mitigations.register(
    "adam_betas",
    cite="doi:10.1038/s41586-024-07711-7 (PPO with equal betas); Adam arXiv:1412.6980 alg. 1",
    null={"beta1": 0.9, "beta2": 0.999},
    promises=Promises(function="n/a", touches=("hidden", "heads", "norms", "log_std", "extra")),
)
@dataclass(kw_only=True, eq=False)
class AdamBetas(Mitigation):
    """Adam with equal betas: its mean of gradients and its mean of their squares forget at one pace.

    m <- beta1 * m + (1 - beta1) * g, v <- beta2 * v + (1 - beta2) * g^2. At a task change gradients jump; with the
    usual betas m follows at once and v a hundred times slower, so that steps are far too long for a while. With
    beta1 = beta2 a step is never longer than lr, as |m| <= sqrt(v). All parameters are affected. It hurts where
    gradients are rare: v forgets them. Reports nothing.

    Args:
        beta1: of the mean. More smooths steps, and answers later.
        beta2: of the mean of squares. Less forgets the size of old gradients sooner; below beta1 steps can be long.
    """

    beta1: Beta = 0.99
    beta2: Beta = 0.99

    def wrap_optimizer(self, factory: OptimizerFactory) -> OptimizerFactory:
        """Make the same optimizer with other betas."""
        betas = (self.beta1, self.beta2)
        return factory if betas == PLAIN else partial(factory, betas=betas)
