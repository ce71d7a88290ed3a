"""L2 Init: regularise towards the initial weights."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.towards_start import TowardsStart
from lopgym.agents.promises import Promises
from lopgym.bounds import NonNegativeFloat


@mitigations.register(
    "l2_init",
    cite="arXiv:2308.11958 sec. 3; the authors' code, github.com/skumar9876/L2_Init",
    null={"strength": 0.0},
    promises=Promises(function="n/a", touches=("hidden", "heads")),
)
@dataclass(kw_only=True, eq=False)
class L2Init(TowardsStart):
    """Pull weights back to where they began: add strength * (theta - theta_0) to the gradient.

    That is the gradient of strength / 2 * ||theta - theta_0||^2: the paper's lambda (Kumar et al. 2023, sec. 3) is half
    the `strength`, the weight in the authors' code is the `strength`. It goes through the optimizer and its clipping
    like any gradient, so it also moves units whose own gradient is zero, and under Adam these fastest. Acts on weights
    and biases of hidden layers and heads; norm gains and `log_std` stay free, and the target follows at its next
    update. It hurts where a task needs weights far from their start, such as large values or logits, and it holds on to
    bad luck in the initial weights.

    Args:
        strength: of the pull. More keeps weights nearer to their start and forgets faster; less is nearer to `none`.
    """

    strength: NonNegativeFloat = 1e-2

    def pull(self, parameter: Tensor, start: Tensor) -> Tensor:
        """Return the way from the start."""
        return parameter - start
