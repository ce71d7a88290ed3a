"""Parametric layer: a number is added to the reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from lopgym.envs.layers import layers
from lopgym.envs.reward_channel import RewardChannel, RewardLayer, RewardLayerVector
from lopgym.physics import Physics, Value, param


@dataclass(frozen=True, eq=False)
class RewardShift(Physics):
    """The number."""

    reward_shift: float = param(0.0, low=-1e3, high=1e3, unit="of the reward", doc="what is added to the reward")


class _Shifted(RewardChannel):
    physics_type = RewardShift
    reward_shift: Value

    def _changed(self, rewards: NDArray[Any]) -> NDArray[Any]:
        return rewards + self.reward_shift


class ShiftRewardVector(_Shifted, RewardLayerVector):
    """Add `reward_shift` to the reward of each copy."""


@layers.register("shift_reward", vector=ShiftRewardVector, preserves_optimum=False)
class ShiftReward(_Shifted, RewardLayer):
    """Add `reward_shift` to the reward of every step.

    What is best can change by it: a positive one rewards long episodes, a negative one short ones.
    """
