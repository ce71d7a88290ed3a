"""Parametric layer: the actions change places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from lopgym.envs.layers import layers
from lopgym.envs.permute_observation import orders
from lopgym.envs.variants import MAX_INDEX
from lopgym.physics import Parametric, Physics, Value, param


@dataclass(frozen=True, eq=False)
class ActionOrder(Physics):
    """Which order."""

    action_order: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random order of the actions")


class PermuteActionVector(Parametric, gym.vector.VectorWrapper[Any, Any, Any, Any, Any]):
    """Let the actions of each copy mean others: those of the random order number `action_order`."""

    physics_type = ActionOrder
    action_order: Value

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any], *, world_seed: int = 0) -> None:
        """Start in order 0, a random one like all others; `world_seed` and the number fix an order.

        Raises:
            TypeError: the action is not Discrete.
        """
        super().__init__(env)
        self._space = discrete(env.single_action_space)
        self._world_seed, self.physics, self._copies = world_seed, ActionOrder(), np.arange(self.num_envs)
        self._write_physics()

    def step(self, actions: NDArray[Any]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every copy."""
        order, start = self._order, self._space.start
        places = np.asarray(actions) - start
        return self.env.step(start + (order[places] if order.ndim == 1 else order[self._copies, places]))

    def _write_physics(self) -> None:
        super()._write_physics()
        self._order = orders(self._world_seed, "action_order", int(self._space.n), self.action_order)


@layers.register("permute_action", vector=PermuteActionVector)
class PermuteAction(Parametric, gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Let the actions mean others: those of the random order number `action_order`."""

    physics_type = ActionOrder
    action_order: Value

    def __init__(self, env: gym.Env[Any, Any], *, world_seed: int = 0) -> None:
        """Start in order 0, a random one like all others; `world_seed` and the number fix an order.

        Raises:
            TypeError: the action is not Discrete.
        """
        RecordConstructorArgs.__init__(self, world_seed=world_seed)
        gym.Wrapper.__init__(self, env)
        self._space = discrete(env.action_space)
        self._world_seed, self.physics = world_seed, ActionOrder()
        self._write_physics()

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step.

        Raises:
            ValueError: the action is not in the action space.
        """
        if not self._space.contains(action):
            raise ValueError(f"action {action!r} is not in {self._space}")
        start = self._space.start
        return self.env.step(start + self._order[int(action) - start])

    def _write_physics(self) -> None:
        super()._write_physics()
        self._order = orders(self._world_seed, "action_order", int(self._space.n), self.action_order)


def discrete(space: gym.Space[Any]) -> gym.spaces.Discrete:
    """Return the space if it is Discrete.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(space, gym.spaces.Discrete):
        raise TypeError(f"the actions of {space} have no order to change: only Discrete actions have")
    return space
