"""Policy entropy: how much the agent still tries."""

from __future__ import annotations

import torch
from torch import Tensor

from lopgym.probes import register


@register("policy_entropy", bounds=(0, float("inf")), cite="arXiv:1602.01783 sec. 4", invariant=("units", "samples"))
def policy_entropy(action_probabilities: Tensor) -> dict[str, float]:
    """Mean entropy of the policy over the observations, in nats.

    E_x[-sum_a pi(a|x) ln pi(a|x)]: ln A for uniform choice between A actions, 0 for a certain one. An agent whose
    entropy has collapsed stops learning for want of exploration, which is not loss of plasticity.

    Args:
        action_probabilities: (B, A).

    >>> import torch
    >>> policy_entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))  # half of ln 2
    {'policy': 0.34657359027997264}
    """
    return {"policy": torch.special.entr(action_probabilities.double()).sum(dim=-1).mean().item()}
