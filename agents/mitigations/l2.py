"""L2 regularisation: pull every weight towards zero."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.promises import Promises
from lopgym.bounds import NonNegativeFloat


@mitigations.register(
    "l2",
    cite="arXiv:1711.05101 alg. 2 (Adam with L2 regularisation); for plasticity doi:10.1038/s41586-024-07711-7",
    null={"strength": 0.0},
    promises=Promises(function="n/a", touches=("hidden", "heads")),
)
@dataclass(kw_only=True, eq=False)
class L2(Mitigation):
    """Pull weights towards zero: add strength * theta to the gradient.

    That is the gradient of strength / 2 * ||theta||^2, `weight_decay` of PyTorch's SGD and Adam. It is coupled: Adam
    divides it, like the rest of the gradient, by each entry's root mean square, so a weight that still learns from
    large gradients decays slowly, and one whose own gradient is zero at nearly the learning rate an update, however
    weak the pull. Decoupled decay (AdamW) shrinks all weights by the same share instead, and escapes clipping. Acts on
    weights and biases of hidden layers and heads; norm gains and `log_std` stay free. The target follows at its next
    update. It keeps weights small but hurts where it is strong: it pulls all units to the same point, zero, so
    that features die or lose rank, and it shrinks values and logits.

    Args:
        strength: of the pull. More keeps weights smaller and forgets faster; less is nearer to `none`.
    """

    strength: NonNegativeFloat = 1e-3

    @torch.no_grad()
    def on_gradient(self, learner: Learner) -> None:
        """Add the pull."""
        if not self.strength:
            return
        for parameter in learner.weights_and_biases():
            if parameter.grad is not None:
                parameter.grad.add_(parameter, alpha=self.strength)
