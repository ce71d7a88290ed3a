"""Explained variance: how much of what the critic is to learn it says already."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lopgym.probes import register


@register(
    "explained_variance",
    bounds=(-float("inf"), 1),
    cite="Stable-Baselines3, common.utils.explained_variance",
    invariant=("samples", "scale"),
)
def explained_variance(predictions: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, float]:
    """Share of the variance of the targets that the predictions explain, on samples that the agent learns from.

    1 - Var(target - prediction) / Var(target): 1 if all agree up to a constant, 0 for predictions that do not vary,
    below 0 for worse ones; 0 where all targets are alike, of which Stable-Baselines3 says NaN. PPO: values, as they
    are now, and returns (`train/explained_variance` takes the values of the rollout). DQN: Q(s, a) and the TD target
    r + gamma max_a' Q'(s', a'), which its own network makes: being near 1 does not say that the target is right.

    Args:
        predictions: head to what it says of the samples, (B,).
        targets: the same head to what it is to say, (B,).

    >>> import torch
    >>> explained_variance({"critic.head": torch.tensor([1.0, 2.0])}, {"critic.head": torch.tensor([0.0, 2.0])})
    {'critic.head': 0.75}
    """
    return {name: _explained(predictions[name].double(), told.double()) for name, told in targets.items()}


def _explained(says: Tensor, told: Tensor) -> float:
    total = _variance(told)
    return 1 - _variance(told - says) / total if total > 0 else 0.0


def _variance(x: Tensor) -> float:
    return (x - x[0]).var(correction=0).item()  # from x[0], lest rounding of the mean make a constant vary
