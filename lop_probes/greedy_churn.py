"""Greedy churn: on how many observations the best action has become another one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.probes import register


@register("greedy_churn", bounds=(0, 1), cite="arXiv:2206.00730 sec. 1.1", invariant=("units", "samples", "scale"))
def greedy_churn(preferences: Mapping[str, Tensor], previous_preferences: Mapping[str, Tensor]) -> dict[str, float]:
    """Share of observations on which the best action is another one than at the last measurement.

    E_x[argmax_a f(x, a) != argmax_a f'(x, a)], f' being the network of the last measurement on the observations of this
    one; of equally good actions the first counts. A share between two measurements: compare at one cadence.

    Args:
        preferences: head to what it says of each discrete action, (B, A): logits of a policy, values of a Q network.
        previous_preferences: the same by the network of the last measurement.

    >>> import torch
    >>> now, before = torch.tensor([[0.0, 9.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    >>> greedy_churn({"q.head": now}, {"q.head": before})
    {'q.head': 0.5}
    """
    return {
        name: (preferences[name].argmax(dim=1) != before.argmax(dim=1)).double().mean().item()
        for name, before in previous_preferences.items()
    }
