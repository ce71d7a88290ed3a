"""Parseval regularisation: keep the rows of every hidden layer orthogonal and equally long."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.mitigations.power_iteration import as_matrix
from lopgym.agents.promises import Promises
from lopgym.bounds import NonNegativeFloat, PositiveFloat

TUNED_WIDTH = 64  # units of the layers for which the authors tuned the strength


@mitigations.register(
    "parseval",
    cite="arXiv:2412.07224 (Parseval regularisation), and the authors' code, github.com/wechu/parseval_reg",
    null={"strength": 0.0},
    promises=Promises(function="n/a", touches=("hidden",)),
)
@dataclass(kw_only=True, eq=False)
class Parseval(Mitigation):
    """Parseval regularisation: pull the rows of each hidden layer towards orthogonal rows of squared length `scale`.

    Its penalty for a layer of n units is strength * (64 / n)^2 * ||W W^T - scale I||_F^2, of gradient
    4 (W W^T - scale I) W times the factors: the authors tuned the strength for 64 units and scale it so. Units then
    cannot become clones of one another, and gradients pass through the layer at equal size in every direction. Heads,
    biases, norms and `log_std` are free; the target follows at its next update. The authors have fully connected
    layers only; here each kernel of a convolution is a row. More units than inputs cannot be orthogonal: there it makes
    the singular values equal. It costs capacity and Lipschitz constant, for which the authors offer learnt diagonal
    layers, not built here. DQN's layers begin with rows of squared length about 1/3, far below the default scale.

    Args:
        strength: of the pull. More holds rows closer to orthogonal; less is nearer to `none`. The authors take 1e-3
            or 1e-4.
        scale: squared length of a row. 2 is that of the orthogonal initialisation with gain sqrt(2), which PPO has;
            more makes layers stretch their inputs, less makes them shrink them.
    """

    strength: NonNegativeFloat = 1e-3
    scale: PositiveFloat = 2.0

    @torch.no_grad()
    def on_gradient(self, learner: Learner) -> None:
        """Add the penalty's gradient."""
        if not self.strength:
            return
        for _, module in learner.hidden_affines():
            weight = module.weight
            if weight.grad is not None:
                rows = as_matrix(weight)
                excess = rows @ rows.T
                excess.diagonal().sub_(self.scale)
                factor = 4 * self.strength * (TUNED_WIDTH / len(rows)) ** 2
                weight.grad.add_((excess @ rows).view_as(weight), alpha=factor)
