"""Parametric layer: the reward is multiplied by a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from lopgym.envs.layers import layers
from lopgym.physics import Parametric, Physics, Value, param


@dataclass(frozen=True, eq=False)
class RewardScale(Physics):
    """The number."""

    reward_scale: float = param(1.0, low=-1e3, high=1e3, unit="1", doc="what the reward is multiplied by")


class ScaleRewardVector(Parametric, gym.vector.VectorWrapper[Any, Any, Any, Any, Any]):
    """Multiply the reward of each copy by `reward_scale`."""

    physics_type = RewardScale
    reward_scale: Value

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any]) -> None:
        """Start with scale 1."""
        super().__init__(env)
        self.physics = RewardScale()
        self._write_physics()

    def step(self, actions: NDArray[Any]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every copy."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        return observation, reward * self.reward_scale, terminated, truncated, info


@layers.register("scale_reward", vector=ScaleRewardVector)
class ScaleReward(Parametric, gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Multiply the reward by `reward_scale`."""

    physics_type = RewardScale
    reward_scale: float

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Start with scale 1."""
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self.physics = RewardScale()
        self._write_physics()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward) * self.reward_scale, terminated, truncated, info
