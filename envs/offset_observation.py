"""Parametric layer: the observation is shifted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lopgym.envs.channel import Numbered, column
from lopgym.envs.layers import layers
from lopgym.envs.observation_channel import (
    ObservationChannel,
    ObservationLayer,
    ObservationLayerVector,
    floats,
    widened,
)
from lopgym.envs.variants import MAX_INDEX
from lopgym.physics import Physics, Value, param

_FARTHEST = 100.0


@dataclass(frozen=True, eq=False)
class ObservationOffset(Physics):
    """How far, and where to."""

    observation_offset: float = param(
        0.0, low=-_FARTHEST, high=_FARTHEST, unit="of the observation", doc="root mean square shift of an element"
    )
    observation_offset_direction: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random direction")


class _Offset(Numbered, ObservationChannel):
    physics_type = ObservationOffset
    observation_offset: Value
    observation_offset_direction: Value

    def _widened(self, space: gym.Space[Any]) -> gym.spaces.Box:
        space = floats(space)
        most = _FARTHEST * np.sqrt(np.prod(space.shape))  # the whole shift in one element
        return widened(space, space.low.astype(np.float64) - most, space.high.astype(np.float64) + most)

    def _write_physics(self) -> None:
        super()._write_physics()
        direction = self._drawn("observation_offset_direction", lambda rng: _direction(rng, self._size))
        self._offset = column(self.observation_offset) * direction

    def _changed(self, flat: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(flat + self._offset)


class OffsetObservationVector(_Offset, ObservationLayerVector):
    """Add to each copy's observation a vector: `observation_offset` times a random direction."""


@layers.register("offset_observation", vector=OffsetObservationVector, preserves_optimum=True)
class OffsetObservation(_Offset, ObservationLayer):
    """Add a vector to the observation: `observation_offset` times direction `observation_offset_direction`.

    A direction is uniform on the sphere and as long as the root of the number of elements, so that the offset is the
    root mean square of what the elements are shifted by.
    """


def _direction(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    drawn = rng.standard_normal(size)
    return np.asarray(drawn * np.sqrt(size / np.square(drawn).sum()))
