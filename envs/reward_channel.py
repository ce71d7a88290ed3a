"""Reward channels: layers that change what the agent is paid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.channel import Channel, SingleLayer, VectorLayer
from lopgym.envs.world import Mask


class RewardChannel(Channel):
    """A channel that changes rewards."""

    def _pay(self, rewards: NDArray[Any], ended: Mask) -> NDArray[Any]:
        """Return what is paid for the rewards of a step; `ended` says which episodes it ends, shape (N,) each."""
        if self._idle:
            return rewards
        paid = self._changed(rewards)
        return self._kept(rewards, paid) if self._some_rest else paid

    def _changed(self, rewards: NDArray[Any]) -> NDArray[Any]:
        """Return changed rewards, a new array of shape (N,)."""
        raise NotImplementedError


class RewardLayer(RewardChannel, SingleLayer):
    """The wrapper of a single environment that carries a reward channel."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        earned = np.array([reward], dtype=np.float64)
        paid = self._pay(earned, np.array([terminated or truncated]))
        return observation, reward if paid is earned else float(paid[0]), terminated, truncated, info


class RewardLayerVector(RewardChannel, VectorLayer):
    """The wrapper of a batch that carries a reward channel."""

    def step(self, actions: NDArray[Any]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every copy."""
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        return observations, self._pay(rewards, terminated | truncated), terminated, truncated, info
