"""Parametric layer: the reward is noisy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from lopgym.envs.layers import layers
from lopgym.envs.luck import Luck
from lopgym.envs.reward_channel import RewardChannel, RewardLayer, RewardLayerVector
from lopgym.envs.world import Mask
from lopgym.physics import Physics, Value, param


@dataclass(frozen=True, eq=False)
class RewardNoise(Physics):
    """How noisy."""

    reward_noise: float = param(
        0.0, low=0.0, high=1e3, unit="of the reward", doc="standard deviation of what is added to the reward"
    )


class _Noisy(RewardChannel):
    physics_type = RewardNoise
    kept = ("_luck",)
    reward_noise: Value

    def _fit(self) -> None:
        self._luck = Luck("reward_noise", self._copies)

    def _begin(self, mask: Mask, seeds: Sequence[int | None]) -> None:
        self._luck.begin(mask, seeds)

    def _pay(self, rewards: NDArray[Any], ended: Mask) -> NDArray[Any]:
        self._luck.step()
        return super()._pay(rewards, ended)

    def _changed(self, rewards: NDArray[Any]) -> NDArray[Any]:
        return rewards + self.reward_noise * self._luck.normal()[:, 0]


class NoiseRewardVector(_Noisy, RewardLayerVector):
    """Add normal noise of standard deviation `reward_noise` to the reward of each copy."""


@layers.register("noise_reward", vector=NoiseRewardVector, preserves_optimum=True)
class NoiseReward(_Noisy, RewardLayer):
    """Add normal noise of standard deviation `reward_noise` to the reward.

    The noise is independent from step to step and follows from the seed of `reset`; every expected return is what it
    was.
    """
