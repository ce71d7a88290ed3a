"""Parametric layer: the observation is multiplied by a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lopgym.envs.channel import column
from lopgym.envs.layers import layers
from lopgym.envs.observation_channel import (
    ObservationChannel,
    ObservationLayer,
    ObservationLayerVector,
    floats,
    reach,
    widened,
)
from lopgym.physics import Physics, Value, param

_MOST = 100.0


@dataclass(frozen=True, eq=False)
class ObservationScale(Physics):
    """The number. It is never 0, so that nothing is lost."""

    observation_scale: float = param(
        1.0, low=1.0 / _MOST, high=_MOST, unit="1", doc="what the observation is multiplied by"
    )


class _Scaled(ObservationChannel):
    physics_type = ObservationScale
    observation_scale: Value

    def _widened(self, space: gym.Space[Any]) -> gym.spaces.Box:
        widest = _MOST * reach(floats(space))
        return widened(floats(space), -widest, widest)

    def _changed(self, flat: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(flat * column(self.observation_scale))


class ScaleObservationVector(_Scaled, ObservationLayerVector):
    """Multiply each copy's observation by `observation_scale`."""


@layers.register("scale_observation", vector=ScaleObservationVector, preserves_optimum=True)
class ScaleObservation(_Scaled, ObservationLayer):
    """Multiply the observation by `observation_scale`."""
