"""Policy divergence: how surprising the policy is to whom it was before."""

from __future__ import annotations

import torch
from torch import Tensor

from lopgym.probes import register

SMALLEST = torch.finfo(torch.float32).tiny  # what the present policy excludes counts as this: a divergence is finite


@register(
    "policy_kl",
    bounds=(0, float("inf")),
    cite="arXiv:1502.05477 sec. 4, the mean divergence",
    invariant=("units", "samples"),
)
def policy_kl(action_probabilities: Tensor, previous_action_probabilities: Tensor) -> dict[str, float]:
    """Mean divergence of the last measurement's policy from the present one, on the observations of now, in nats.

    KL(pi' || pi) = E_x[sum_a pi'(a|x) ln(pi'(a|x) / pi(a|x))], pi' being the policy of the last measurement: the
    direction of TRPO and PPO, *exact* in the actions and over all updates since. PPO's `train/approx_kl` is another
    number, E[r - 1 - ln r] over the actions taken, r = pi / pi_rollout, in the minibatches of the latest epoch; it and
    `train/clip_fraction` are in every run of PPO, and are not measured again. Of an epsilon-greedy policy it is
    `greedy_churn` times a number that only epsilon decides: read that instead.

    Args:
        action_probabilities: (B, A); each row is scaled to sum 1.
        previous_action_probabilities: the same by the network of the last measurement, (B, A).

    >>> import torch
    >>> policy_kl(torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))  # half of ln 2
    {'policy': 0.34657359027997264}
    """
    now, before = (
        p.double() / p.double().sum(dim=1, keepdim=True) for p in (action_probabilities, previous_action_probabilities)
    )
    divergences = (torch.special.xlogy(before, before) - torch.special.xlogy(before, now.clamp_min(SMALLEST))).sum(
        dim=1
    )
    return {"policy": max(divergences.mean().item(), 0.0)}
