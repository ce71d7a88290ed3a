"""Parametric layer: the observation comes late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lopgym.envs.channel import arrays
from lopgym.envs.history import History
from lopgym.envs.layers import layers
from lopgym.envs.observation_channel import ObservationChannel, ObservationLayer, ObservationLayerVector
from lopgym.envs.world import Mask
from lopgym.physics import Physics, Value, param

_LONGEST = 50


@dataclass(frozen=True, eq=False)
class ObservationDelay(Physics):
    """How late."""

    observation_delay: int = param(0, low=0, high=_LONGEST, unit="steps", doc="age of what is seen")


class _Delayed(ObservationChannel):
    physics_type = ObservationDelay
    kept = ("_history",)
    observation_delay: Value

    def _fit(self) -> None:
        super()._fit()
        self._history = History(_LONGEST)

    def _widened(self, space: gym.Space[Any]) -> gym.Space[Any]:
        return arrays(space)

    def _show(self, observations: NDArray[Any]) -> NDArray[Any]:
        self._history.push(observations)
        return super()._show(observations)

    def _show_first(self, mask: Mask, observations: NDArray[Any]) -> NDArray[Any]:
        self._history.begin(mask, observations)
        return observations

    def _changed(self, flat: NDArray[Any]) -> NDArray[Any]:
        return np.reshape(self._history.back(self.observation_delay), flat.shape)


class DelayObservationVector(_Delayed, ObservationLayerVector):
    """Show each copy what there was to see `observation_delay` steps ago."""


@layers.register("delay_observation", vector=DelayObservationVector, preserves_optimum=False)
class DelayObservation(_Delayed, ObservationLayer):
    """Show what there was to see `observation_delay` steps ago; until then, the first observation of the episode.

    The reward is that of the present. The last 50 observations are kept, whatever the delay, for it may grow.
    """
