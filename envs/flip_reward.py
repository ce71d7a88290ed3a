"""Parametric layer: the reward changes its sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.layers import layers
from lopgym.envs.reward_channel import RewardChannel, RewardLayer, RewardLayerVector
from lopgym.envs.variants import MAX_INDEX
from lopgym.physics import Physics, Value, param


@dataclass(frozen=True, eq=False)
class RewardFlips(Physics):
    """How many times."""

    reward_flips: int = param(0, low=0, high=MAX_INDEX, unit="times", doc="how often the reward has changed its sign")


class _Flipped(RewardChannel):
    physics_type = RewardFlips
    reward_flips: Value

    def _changed(self, rewards: NDArray[Any]) -> NDArray[Any]:
        return np.where(np.asarray(self.reward_flips) % 2 == 1, -rewards, rewards)


class FlipRewardVector(_Flipped, RewardLayerVector):
    """Change the sign of each copy's reward `reward_flips` times."""


@layers.register("flip_reward", vector=FlipRewardVector, preserves_optimum=False)
class FlipReward(_Flipped, RewardLayer):
    """Change the sign of the reward `reward_flips` times: what was good is bad after an odd number of them."""
