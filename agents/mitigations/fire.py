"""FIRE: put each weight matrix on the nearest isometry, where no direction is shrunk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.forgetting import FORGETTING
from lopgym.agents.mitigations.triggered import Triggered
from lopgym.agents.promises import Promises
from lopgym.bounds import PositiveInt


@mitigations.register(
    "fire",
    cite="arXiv:2602.08040 (Newton-Schulz and scale: github.com/isaac7778/FIRE)",
    null={"when": {"kind": "updates", "every": 10**9}},
    promises=Promises(
        function="no",
        touches=("hidden", "heads", "moments", "steps", "target"),
        synchronises=True,
        unless={
            "heads": {"heads": (False,)},
            "moments": {"optimizer": ("keep",)},
            "steps": {"optimizer": ("keep", "reset_moments")},
        },
    ),
)
@dataclass(kw_only=True, eq=False)
class Fire(Triggered):
    """FIRE: replace each weight matrix by its polar factor, W <- s * W (W^T W)^(-1/2), of all isometries the nearest.

    Every singular value becomes s = sqrt(outputs / inputs), so that signals and gradients keep their size in all
    directions, while the singular vectors, what was learned, stay. The factor is computed by Newton-Schulz from
    X = W / ||W||_F, X <- 1.5 X - 0.5 X X^T X; 10 iterations bring a direction of 1 / 30 of ||W||_F to 0.98 s, one of
    1 / 100 to 0.53 s, and leave one of exactly 0 at 0. A convolution is projected place by place of its kernel, with
    s / places. Biases and norm gains stay, and the target is synchronised.

    The authors' code projects output maps too: here `heads` asks for that, as a policy of large logits hardly explores.
    With images they also begin a new optimizer, here `clear`; in their DQN convolutions alone are projected, and linear
    maps go back to where they began. It hurts where outputs rested on few directions: they change most. No cost but at
    an act. Reports `projections`.

    Args:
        iterations: of Newton-Schulz. More raise weak directions further; fewer spare them.
        heads: also project the output maps, which lengthens the small ones of a fresh policy.
        optimizer: `keep` leaves its state; `reset_moments` zeroes what it remembers of the projected weights, but not
            its step count, so that first steps are long, as `optimizer_reset` says; `clear` forgets all of them.
        when: a trigger: `task`, the true task change, or any other.
    """

    iterations: PositiveInt = 10
    heads: bool = False
    optimizer: Literal["keep", "reset_moments", "clear"] = "keep"

    @torch.no_grad()
    def act(self, learner: Learner) -> None:
        """Project."""
        weights = list(self._weights(learner))
        for weight in weights:
            weight.copy_(isometry(weight, self.iterations))
        FORGETTING[self.optimizer](learner.optimizer, weights)
        learner.synchronise_target()
        learner.report({"projections": len(weights)})

    def _weights(self, learner: Learner) -> Iterator[Tensor]:
        for _, module in learner.hidden_affines():
            yield module.weight
        if self.heads:
            for head in learner.heads.values():
                yield head.weight


def isometry(weight: Tensor, iterations: int) -> Tensor:
    """Return the scaled polar factor of a weight, (outputs, inputs) or (outputs, inputs, height, width).

    >>> isometry(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), 10)
    tensor([[1., 0.],
            [0., 1.]])
    """
    outputs, inputs, *kernel = weight.shape
    places = weight.reshape(outputs, inputs, -1).movedim(2, 0)  # (places, outputs, inputs)
    scale = math.sqrt(outputs / inputs) / math.prod(kernel)
    projected: Tensor = scale * polar(places, iterations)
    return projected.movedim(0, 2).reshape(weight.shape)


def polar(matrices: Tensor, iterations: int) -> Tensor:
    """Return the polar factors of matrices (..., M, N) by that many iterations of Newton-Schulz."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
    for _ in range(iterations):
        x = 1.5 * x - 0.5 * (x @ x.mT) @ x
    factors: Tensor = x.mT if tall else x
    return factors
