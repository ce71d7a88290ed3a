"""Parametric layer: the elements of the observation change places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lopgym.envs.layers import layers
from lopgym.envs.variants import MAX_INDEX, variants
from lopgym.physics import Parametric, Physics, Value, param
from lopgym.seeding import generator


@dataclass(frozen=True, eq=False)
class ObservationOrder(Physics):
    """Which order."""

    observation_order: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random order of the elements")


class PermuteObservationVector(Parametric, gym.vector.VectorWrapper[Any, Any, Any, Any, Any]):
    """Show the elements of each copy's observation in the random order number `observation_order`."""

    physics_type = ObservationOrder
    observation_order: Value

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any], *, world_seed: int = 0) -> None:
        """Start in order 0, a random one like all others; `world_seed` and the number fix an order.

        Raises:
            TypeError: the observation is not a Box.
        """
        super().__init__(env)
        self.single_observation_space = shuffled_space(env.single_observation_space)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._world_seed, self.physics = world_seed, ObservationOrder()
        self._write_physics()

    def reset(self, **arguments: Any) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin episodes."""
        observation, info = self.env.reset(**arguments)
        return permuted(observation, self._order), info

    def step(self, actions: NDArray[Any]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every copy."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        return permuted(observation, self._order), reward, terminated, truncated, info

    def _write_physics(self) -> None:
        super()._write_physics()
        size = int(np.prod(self.single_observation_space.shape or ()))
        self._order = orders(self._world_seed, "observation_order", size, self.observation_order)


@layers.register("permute_observation", vector=PermuteObservationVector)
class PermuteObservation(Parametric, gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Show the elements of the observation in the random order number `observation_order`.

    The bounds of the space become the widest of any element, so that they hold in every order.
    """

    physics_type = ObservationOrder
    observation_order: Value

    def __init__(self, env: gym.Env[Any, Any], *, world_seed: int = 0) -> None:
        """Start in order 0, a random one like all others; `world_seed` and the number fix an order.

        Raises:
            TypeError: the observation is not a Box.
        """
        RecordConstructorArgs.__init__(self, world_seed=world_seed)
        gym.Wrapper.__init__(self, env)
        self.observation_space = shuffled_space(env.observation_space)
        self._world_seed, self.physics = world_seed, ObservationOrder()
        self._write_physics()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return permuted(observation[None], self._order)[0], info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return permuted(observation[None], self._order)[0], reward, terminated, truncated, info

    def _write_physics(self) -> None:
        super()._write_physics()
        size = int(np.prod(self.observation_space.shape or ()))
        self._order = orders(self._world_seed, "observation_order", size, self.observation_order)


def orders(world_seed: int, name: str, size: int, numbers: Value) -> NDArray[np.intp]:
    """Return random order number k of `size` things: shape (size,), or (N, size) for numbers of shape (N,)."""
    used, rows = variants(numbers, lambda k: generator(world_seed, name, k).permutation(size))
    return np.asarray(used[rows], dtype=np.intp)


def permuted(observations: NDArray[Any], order: NDArray[np.intp]) -> NDArray[Any]:
    """Return observations (N, *S) with elements in one order (D,), or in one a copy, (N, D)."""
    flat = observations.reshape(len(observations), -1)
    moved = flat[:, order] if order.ndim == 1 else np.take_along_axis(flat, order, axis=1)
    return moved.reshape(observations.shape)


def shuffled_space(space: gym.Space[Any]) -> gym.spaces.Box:
    """Return the Box that holds the observations in every order.

    Raises:
        TypeError: the space is not a Box.
    """
    if not isinstance(space, gym.spaces.Box):
        raise TypeError(f"the elements of {space} have no order to change: only a Box observation has")
    return gym.spaces.Box(space.low.min(), space.high.max(), space.shape, space.dtype.type)
