"""Parametric layer: the reward is multiplied by a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from lopgym.envs.layers import layers
from lopgym.envs.reward_channel import RewardChannel, RewardLayer, RewardLayerVector
from lopgym.physics import Physics, Value, param


@dataclass(frozen=True, eq=False)
class RewardScale(Physics):
    """The number."""

    reward_scale: float = param(1.0, low=-1e3, high=1e3, unit="1", doc="what the reward is multiplied by")


class _Scaled(RewardChannel):
    physics_type = RewardScale
    reward_scale: Value

    def _changed(self, rewards: NDArray[Any]) -> NDArray[Any]:
        return rewards * self.reward_scale


class ScaleRewardVector(_Scaled, RewardLayerVector):
    """Multiply the reward of each copy by `reward_scale`."""


@layers.register("scale_reward", vector=ScaleRewardVector, preserves_optimum=False)
class ScaleReward(_Scaled, RewardLayer):
    """Multiply the reward by `reward_scale`."""
