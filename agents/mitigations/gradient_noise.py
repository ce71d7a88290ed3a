"""Gradient noise in proportion to the gradient: noisy SGD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from lopgym.agents.draws import normal_like
from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.promises import Promises
from lopgym.bounds import Fraction, NonNegativeFloat


@mitigations.register(
    "gradient_noise",
    cite="arXiv:2510.00304 (noisy SGD)",
    null={"sigma": 0.0},
    promises=Promises(function="n/a", touches=("hidden", "heads", "norms", "log_std", "extra")),
)
@dataclass(kw_only=True, eq=False)
class GradientNoise(Mitigation):
    """Noisy gradients: g <- g + N(0, (sigma_t * ||g||)^2), tensor by tensor, sigma_t = sigma * decay^t.

    ||g|| is the Euclidean norm of a whole tensor, so the noise of n entries is about sqrt(n) * sigma_t times as long
    as the gradient. t counts the updates on which the method has acted, from 0. All tensors that the optimizer trains
    are perturbed, before gradients are clipped; one whose gradient is exactly zero stays so: the noise parts clones, it
    does not wake dead layers. It hurts in large tensors, where it drowns the gradient: at sigma = 0.01 it is as long as
    the gradient of 10,000 entries.

    Args:
        sigma: noise of an entry as a share of the tensor's gradient norm, at first. More parts clones sooner.
        decay: factor from update to update. 1 never ends; at 0.999 half the noise is gone after 693 updates, and what
            is cloned later stays so.
    """

    sigma: NonNegativeFloat = 0.01
    decay: Fraction = 0.999
    _acted: int = field(default=0, init=False, repr=False)

    @torch.no_grad()
    def on_gradient(self, learner: Learner) -> None:
        """Perturb every gradient."""
        if not self.sigma:
            return
        sigma = self.sigma * self.decay**self._acted
        self._acted += 1
        gradients = (p.grad for group in learner.optimizer.param_groups for p in group["params"])
        for gradient in gradients:
            if gradient is not None:
                gradient.addcmul_(normal_like(gradient, learner.rng), gradient.norm(), value=sigma)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of updates on which it has acted."""
        return {"acted": self._acted}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._acted = int(state["acted"])
