"""Replay age: how old the data are that the agent learns from."""

from __future__ import annotations

from torch import Tensor

from lopgym.probes import register


@register(
    "replay_age", bounds=(0, float("inf")), cite="arXiv:2007.06700, there in gradient steps", invariant=("samples",)
)
def replay_age(ages: Tensor) -> dict[str, float]:
    """Mean age of the samples that the agent learns from, in env steps over all copies.

    E_i[t - t_i]: steps taken, by all copies together, between the sample's and the latest one, whose age is 0. Just
    after a task change, ages beyond the steps since it are samples of another world: stale data, which is not loss of
    plasticity. Of a full buffer of n steps, drawn evenly, about n / 2; of a rollout half its length.

    Args:
        ages: of each sample, (B,).

    >>> import torch
    >>> replay_age(torch.tensor([0, 10, 20]))
    {'network': 10.0}
    """
    return {"network": ages.double().mean().item()}
