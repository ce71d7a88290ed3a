"""Parametric layer: the reward is paid every few steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.layers import layers
from lopgym.envs.reward_channel import RewardChannel, RewardLayer, RewardLayerVector
from lopgym.envs.world import Mask
from lopgym.physics import Physics, Value, param


@dataclass(frozen=True, eq=False)
class RewardInterval(Physics):
    """How seldom."""

    reward_interval: int = param(1, low=1, high=10_000, unit="steps", doc="time from one pay day to the next")


class _Gathered(RewardChannel):
    physics_type = RewardInterval
    kept = ("_kitty", "_elapsed")
    reward_interval: Value

    def _fit(self) -> None:
        self._kitty, self._elapsed = np.zeros(self._copies), np.zeros(self._copies, dtype=np.int64)

    def _begin(self, mask: Mask, seeds: Sequence[int | None]) -> None:
        self._kitty[mask] = self._elapsed[mask] = 0

    def _pay(self, rewards: NDArray[Any], ended: Mask) -> NDArray[Any]:
        self._elapsed += 1
        if self._idle and not self._kitty.any():
            return rewards
        earned = np.where(self._kitty == 0.0, rewards, self._kitty + rewards)
        due = ended | (self._elapsed % self.reward_interval == 0)
        self._kitty = np.where(due, 0.0, earned)
        return np.where(due, earned, 0.0)


class GatherRewardVector(_Gathered, RewardLayerVector):
    """Pay each copy's rewards together, every `reward_interval` steps."""


@layers.register("gather_reward", vector=GatherRewardVector, preserves_optimum=False)
class GatherReward(_Gathered, RewardLayer):
    """Pay the rewards together, every `reward_interval` steps of an episode and at its end; in between, 0.

    So rewards are sparse and their sum over an episode is what it was. An end that this layer does not see, a time
    limit or a change of task outside it, leaves the rest unpaid.
    """
