"""A world that shows nothing but its parameters, single and batched: for tests of what drives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lopgym.envs.world import BatchedWorld, Mask
from lopgym.physics import Parametric, Physics, param


@dataclass(frozen=True, eq=False)
class DialPhysics(Physics):
    """Two numbers."""

    left: float = param(0.0, low=-100.0, high=100.0, unit="1", doc="a number")
    right: int = param(0, low=0, high=100, unit="index", doc="a whole number")


class Dial(Parametric, gym.Env[Any, Any]):
    """Shows its two parameters; the reward is their sum; an episode has four steps."""

    def __init__(self) -> None:
        """Start at 0 and 0."""
        self.observation_space, self.action_space = gym.spaces.Box(-100, 100, (2,)), gym.spaces.Discrete(2)
        self.physics, self.steps, self.options = DialPhysics(), 0, None
        self._write_physics()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin."""
        super().reset(seed=seed)
        self.steps, self.options = 0, options
        return self._see(), {"own": 1}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Go on."""
        self.steps += 1
        return self._see(), float(self._see().sum()), self.steps == 4, False, {"own": 2}

    def _see(self) -> Any:
        return np.array([self.physics.left, self.physics.right], dtype=np.float32)


class Dials(BatchedWorld):
    """N dials."""

    physics_type = DialPhysics

    def __init__(self, num_envs: int) -> None:
        """Start at 0 and 0."""
        super().__init__(num_envs, None, gym.spaces.Box(-100, 100, (2,)), gym.spaces.Discrete(2))
        self.steps = np.zeros(num_envs, dtype=np.int64)

    def _begin(self, mask: Mask) -> None:
        self.steps[mask] = 0

    def _observe(self) -> NDArray[Any]:
        both = np.broadcast_arrays(self.physics.left, self.physics.right, self.steps)[:2]  # type: ignore[attr-defined]
        return np.stack(both, axis=1).astype(np.float32)

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        self.steps += 1
        return self._observe().sum(axis=1).astype(np.float64), self.steps >= 4
