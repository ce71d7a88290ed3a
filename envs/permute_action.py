"""Parametric layer: the actions change places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from numpy.typing import NDArray

from lopgym.envs.action_channel import ActionChannel, ActionLayer, ActionLayerVector
from lopgym.envs.channel import Numbered
from lopgym.envs.layers import layers
from lopgym.envs.permute_observation import orders, renamed
from lopgym.envs.variants import MAX_INDEX
from lopgym.physics import Physics, Value, param


@dataclass(frozen=True, eq=False)
class ActionOrder(Physics):
    """Which order."""

    action_order: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random order of the actions")


class _Permuted(Numbered, ActionChannel):
    physics_type = ActionOrder
    rests_at_default = False  # so that the first of many orders is no easier than the others
    action_order: Value

    def _fit(self) -> None:
        self._space = discrete(self._acted)
        self._start = int(self._space.start)

    def _write_physics(self) -> None:
        super()._write_physics()
        self._order = orders(self._world_seed, "action_order", int(self._space.n), self.action_order)

    def _changed(self, actions: NDArray[Any]) -> NDArray[Any]:
        return renamed(actions, self._order, self._start)


class PermuteActionVector(_Permuted, ActionLayerVector):
    """Let the actions of each copy mean others: those of the random order number `action_order`."""


@layers.register("permute_action", vector=PermuteActionVector, preserves_optimum=True)
class PermuteAction(_Permuted, ActionLayer):
    """Let the actions mean others: those of the random order number `action_order`.

    Order 0 is a random one like all others.
    """

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step.

        Raises:
            ValueError: the action is not in the action space.
        """
        if not self._space.contains(action):
            raise ValueError(f"action {action!r} is not in {self._space}")
        return self.env.step(self._start + self._order[int(action) - self._start])


def discrete(space: gym.Space[Any]) -> gym.spaces.Discrete:
    """Return the space if it is Discrete.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(space, gym.spaces.Discrete):
        raise TypeError(f"the actions of {space} have no numbers to change: only Discrete actions have")
    return space
