"""Policy churn: how far the policy has moved."""

from __future__ import annotations

from torch import Tensor

from lopgym.probes import register


@register("policy_churn", bounds=(0, 1), cite="arXiv:2409.04792", invariant=("units", "samples"))
def policy_churn(action_probabilities: Tensor, previous_action_probabilities: Tensor) -> dict[str, float]:
    """Mean total variation between the policy and that of the last measurement, on the observations of this one.

    E_x[1/2 sum_a |pi(a|x) - pi'(a|x)|], the difference of arXiv:2409.04792 as a distance of distributions: 1 if no
    action is possible under both. Of an epsilon-greedy policy it is (1 - epsilon) times `greedy_churn`.

    Args:
        action_probabilities: (B, A).
        previous_action_probabilities: the same by the network of the last measurement, (B, A).

    >>> import torch
    >>> policy_churn(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    {'policy': 0.25}
    """
    moved = action_probabilities.double() - previous_action_probabilities.double()
    return {"policy": min(moved.abs().sum(dim=1).mean().item() / 2, 1.0)}
