"""L1 Init: regularise towards the initial weights, sparsely."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.towards_start import TowardsStart
from lopgym.agents.promises import Promises
from lopgym.bounds import NonNegativeFloat


@mitigations.register(
    "l1_init",
    cite="arXiv:2308.11958 sec. 5.3, choice of norm; the authors' code, github.com/skumar9876/L2_Init",
    null={"strength": 0.0},
    promises=Promises(function="n/a", touches=("hidden", "heads")),
)
@dataclass(kw_only=True, eq=False)
class L1Init(TowardsStart):
    """Pull weights back to where they began, all equally hard: add strength * sign(theta - theta_0) to the gradient.

    That is the gradient of strength * ||theta - theta_0||_1, zero where a weight stands at its start. So most weights
    return and few go far, where `l2_init` lets many go a little. Acts on weights and biases of hidden layers and
    heads; norm gains and `log_std` stay free, and the target follows at its next update. It hurts where the loss needs
    many small changes. A weight that nothing else moves does not settle at its start but trembles around it, by about
    a step of the optimizer.

    Args:
        strength: of the pull. More holds every weight whose gradient is weaker than it at its start; less frees more.
    """

    strength: NonNegativeFloat = 1e-4

    def pull(self, parameter: Tensor, start: Tensor) -> Tensor:
        """Return the sign of the way from the start."""
        return (parameter - start).sign_()
