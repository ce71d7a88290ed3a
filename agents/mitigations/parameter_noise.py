"""Plain noise on the weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lopgym.agents.draws import normal_like
from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.triggered import Periodic
from lopgym.agents.promises import Promises
from lopgym.agents.triggers import When
from lopgym.bounds import NonNegativeFloat, PositiveInt


@mitigations.register(
    "parameter_noise",
    cite="arXiv:1910.08475 sec. 4 (the perturbation alone)",
    null={"sigma": 0.0},
    promises=Promises(function="no", touches=("hidden", "heads")),
)
@dataclass(kw_only=True, eq=False)
class ParameterNoise(Periodic):
    """Parameter noise: theta <- theta + N(0, sigma^2), after every update or at a trigger.

    Acts on weights and biases of hidden layers and heads; norm gains, `log_std`, the optimizer and the target stay. The
    numbers are independent, so over n acts a weight wanders by sigma * sqrt(n): nothing shrinks it, unlike
    `shrink_perturb`. It hurts wherever weights are small, as in a policy's head, and in long runs.

    Args:
        sigma: deviation of the noise of an entry. Higher parts clones sooner and drowns what was learned.
        when: a trigger: the word `updates` for every `every` updates, or another one.
        every: updates between two acts, if `when` is the word `updates`. Fewer wander further.
    """

    sigma: NonNegativeFloat = 1e-3
    when: When = "updates"
    every: PositiveInt = 1

    @torch.no_grad()
    def act(self, learner: Learner) -> None:
        """Perturb."""
        if self.sigma:
            for parameter in learner.weights_and_biases():
                parameter.add_(normal_like(parameter, learner.rng), alpha=self.sigma)
