"""Parametric layer: the elements of the observation change places, or its numbers their meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lopgym.envs.channel import Numbered
from lopgym.envs.layers import layers
from lopgym.envs.observation_channel import ObservationChannel, ObservationLayer, ObservationLayerVector, box
from lopgym.envs.variants import MAX_INDEX, variants
from lopgym.physics import Physics, Value, param
from lopgym.seeding import generator


@dataclass(frozen=True, eq=False)
class ObservationOrder(Physics):
    """Which order."""

    observation_order: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random order of the elements")


class _Permuted(Numbered, ObservationChannel):
    physics_type = ObservationOrder
    rests_at_default = False  # so that the first of many orders is no easier than the others
    observation_order: Value

    def _fit(self) -> None:
        super()._fit()
        if isinstance(self._seen, gym.spaces.Discrete):
            self._size = int(self._seen.n)

    def _widened(self, space: gym.Space[Any]) -> gym.Space[Any]:
        return space if isinstance(space, gym.spaces.Discrete) else shuffled_space(space)

    def _write_physics(self) -> None:
        super()._write_physics()
        self._order = orders(self._world_seed, "observation_order", self._size, self.observation_order)

    def _changed(self, flat: NDArray[Any]) -> NDArray[Any]:
        if isinstance(self._seen, gym.spaces.Discrete):
            return renamed(flat[:, 0], self._order, int(self._seen.start))[:, None]
        return permuted(flat, self._order)


class PermuteObservationVector(_Permuted, ObservationLayerVector):
    """Show the elements of each copy's observation in the random order number `observation_order`."""


@layers.register("permute_observation", vector=PermuteObservationVector, preserves_optimum=True)
class PermuteObservation(_Permuted, ObservationLayer):
    """Show the elements of the observation in the random order number `observation_order`.

    Order 0 is a random one like all others. The bounds of the space become the widest of any element, so that they
    hold in every order. A Discrete observation, the number of a state, becomes the number that the order gives it.
    """


def orders(world_seed: int, name: str, size: int, numbers: Value) -> NDArray[np.intp]:
    """Return random order number k of `size` things: shape (size,), or (N, size) for numbers of shape (N,)."""
    used, rows = variants(numbers, lambda k: generator(world_seed, name, k).permutation(size))
    return np.asarray(used[rows], dtype=np.intp)


def permuted(flat: NDArray[Any], order: NDArray[np.intp]) -> NDArray[Any]:
    """Return observations (N, D) with elements in one order (D,), or in one a copy, (N, D)."""
    return flat[:, order] if order.ndim == 1 else np.take_along_axis(flat, order, axis=1)


def renamed(numbers: NDArray[Any], order: NDArray[np.intp], first: int) -> NDArray[Any]:
    """Return whole numbers from `first` on, shape (N,), renamed by one order (D,), or by one a copy, (N, D)."""
    places = numbers - first
    return np.asarray((order[places] if order.ndim == 1 else order[np.arange(len(places)), places]) + first)


def shuffled_space(space: gym.Space[Any]) -> gym.spaces.Box:
    """Return the Box that holds the observations in every order.

    Raises:
        TypeError: the space is not a Box.
    """
    space = box(space, "cannot change places")
    return gym.spaces.Box(space.low.min(), space.high.max(), space.shape, space.dtype.type)
