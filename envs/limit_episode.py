"""Parametric layer: episodes are cut after some steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.channel import Channel, SingleLayer, VectorLayer
from lopgym.envs.layers import layers
from lopgym.envs.world import Mask
from lopgym.physics import Physics, Value, param


@dataclass(frozen=True, eq=False)
class EpisodeLimit(Physics):
    """How many steps."""

    max_steps: int = param(0, low=0, high=10**9, unit="steps", doc="horizon, the longest an episode can be; 0 no limit")


class _Limited(Channel):
    physics_type = EpisodeLimit
    kept = ("_elapsed",)
    max_steps: Value

    def _fit(self) -> None:
        self._elapsed = np.zeros(self._copies, dtype=np.int64)

    def _begin(self, mask: Mask, seeds: Sequence[int | None]) -> None:
        self._elapsed[mask] = 0

    def _over(self) -> Mask:
        """Count a step; return which copies have had as many as they may, shape (N,)."""
        self._elapsed += 1
        return ~self._resting & (self._elapsed >= self.max_steps)


class LimitEpisodeVector(_Limited, VectorLayer):
    """Truncate each copy's episode after `max_steps` steps."""

    def step(self, actions: NDArray[Any]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every copy."""
        observations, reward, terminated, truncated, info = self.env.step(actions)
        return observations, reward, terminated, truncated | self._over(), info


@layers.register("limit_episode", vector=LimitEpisodeVector, preserves_optimum=False)
class LimitEpisode(_Limited, SingleLayer):
    """Truncate the episode after `max_steps` steps; 0 for no limit.

    The running episode is measured, too, when the limit moves: one that is longer already ends with its next step.
    """

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        over = bool(self._over()[0])
        return observation, reward, terminated, truncated or over, info
