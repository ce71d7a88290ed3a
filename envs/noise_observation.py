"""Parametric layer: the observation is noisy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lopgym.envs.channel import column
from lopgym.envs.layers import layers
from lopgym.envs.luck import Luck
from lopgym.envs.observation_channel import ObservationChannel, ObservationLayer, ObservationLayerVector, floats
from lopgym.envs.world import Mask
from lopgym.physics import Physics, Value, param


@dataclass(frozen=True, eq=False)
class ObservationNoise(Physics):
    """How noisy."""

    observation_noise: float = param(
        0.0, low=0.0, high=100.0, unit="of the observation", doc="standard deviation of what is added to each element"
    )


class _Noisy(ObservationChannel):
    physics_type = ObservationNoise
    kept = ("_luck",)
    observation_noise: Value

    def _fit(self) -> None:
        super()._fit()
        self._luck = Luck("observation_noise", self._copies, self._size)

    def _widened(self, space: gym.Space[Any]) -> gym.spaces.Box:
        return gym.spaces.Box(-np.inf, np.inf, floats(space).shape, floats(space).dtype.type)

    def _begin(self, mask: Mask, seeds: Sequence[int | None]) -> None:
        self._luck.begin(mask, seeds)

    def _show(self, observations: NDArray[Any]) -> NDArray[Any]:
        self._luck.step()
        return super()._show(observations)

    def _show_first(self, mask: Mask, observations: NDArray[Any]) -> NDArray[Any]:
        return super()._show(observations)  # the beginning has been counted, and only where there was one

    def _changed(self, flat: NDArray[Any]) -> NDArray[Any]:
        return flat + column(self.observation_noise) * self._luck.normal()


class NoiseObservationVector(_Noisy, ObservationLayerVector):
    """Add normal noise of standard deviation `observation_noise` to each copy's observation."""


@layers.register("noise_observation", vector=NoiseObservationVector, preserves_optimum=False)
class NoiseObservation(_Noisy, ObservationLayer):
    """Add normal noise of standard deviation `observation_noise` to every element of the observation.

    The noise is independent from element to element and from step to step, and follows from the seed of `reset`.
    """
