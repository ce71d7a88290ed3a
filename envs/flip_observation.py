"""Parametric layer: elements of the observation change their sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lopgym.envs.channel import Numbered
from lopgym.envs.layers import layers
from lopgym.envs.observation_channel import (
    ObservationChannel,
    ObservationLayer,
    ObservationLayerVector,
    floats,
    reach,
    widened,
)
from lopgym.envs.variants import MAX_INDEX
from lopgym.physics import Physics, Value, param


@dataclass(frozen=True, eq=False)
class ObservationSigns(Physics):
    """Which signs."""

    observation_signs: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random signs; 0 none changed")


class _Flipped(Numbered, ObservationChannel):
    physics_type = ObservationSigns
    observation_signs: Value

    def _widened(self, space: gym.Space[Any]) -> gym.spaces.Box:
        widest = reach(floats(space))
        return widened(floats(space), -widest, widest)

    def _write_physics(self) -> None:
        super()._write_physics()
        self._signs = self._drawn("observation_signs", lambda rng: rng.choice([-1.0, 1.0], self._size))

    def _changed(self, flat: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(flat * self._signs)


class FlipObservationVector(_Flipped, ObservationLayerVector):
    """Turn round the signs of elements of each copy's observation: random signs number `observation_signs`."""


@layers.register("flip_observation", vector=FlipObservationVector, preserves_optimum=True)
class FlipObservation(_Flipped, ObservationLayer):
    """Turn round the signs of elements of the observation: random signs number `observation_signs`.

    Every element keeps or changes its sign with even odds; number 0 changes none.
    """
