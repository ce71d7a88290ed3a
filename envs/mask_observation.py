"""Parametric layer: elements of the observation fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lopgym.envs.channel import Numbered, column
from lopgym.envs.layers import layers
from lopgym.envs.observation_channel import ObservationChannel, ObservationLayer, ObservationLayerVector, box
from lopgym.envs.variants import MAX_INDEX
from lopgym.physics import Physics, Value, param


@dataclass(frozen=True, eq=False)
class ObservationMask(Physics):
    """How many elements, and which."""

    observation_mask: float = param(0.0, low=0.0, high=1.0, unit="1", doc="fraction of the elements that read 0")
    observation_mask_order: int = param(
        0, low=0, high=MAX_INDEX, unit="index", doc="which random order the elements fail in"
    )


class _Masked(Numbered, ObservationChannel):
    physics_type = ObservationMask
    observation_mask: Value
    observation_mask_order: Value

    def _widened(self, space: gym.Space[Any]) -> gym.spaces.Box:
        space = box(space, "cannot fail in part")
        return gym.spaces.Box(np.minimum(space.low, 0), np.maximum(space.high, 0), space.shape, space.dtype.type)

    def _write_physics(self) -> None:
        super()._write_physics()
        rank = self._drawn("observation_mask_order", lambda rng: rng.permutation(self._size))
        self._failed = rank < np.round(column(self.observation_mask) * self._size)

    def _changed(self, flat: NDArray[Any]) -> NDArray[Any]:
        return np.where(self._failed, np.zeros((), dtype=flat.dtype), flat)


class MaskObservationVector(_Masked, ObservationLayerVector):
    """Show 0 in place of a fraction `observation_mask` of the elements of each copy's observation."""


@layers.register("mask_observation", vector=MaskObservationVector, preserves_optimum=False)
class MaskObservation(_Masked, ObservationLayer):
    """Show 0 in place of a fraction `observation_mask` of the elements of the observation.

    The elements fail in the random order number `observation_mask_order`, the same at every step: those that fail at
    a lower fraction fail at a higher one, too. The number of them is rounded to the nearest.
    """
