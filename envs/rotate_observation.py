"""Parametric layer: the observation is rotated."""

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

_LARGEST = 1024  # elements: a matrix of 8 MiB, drawn in about a second


@dataclass(frozen=True, eq=False)
class ObservationRotation(Physics):
    """Which rotation."""

    observation_rotation: int = param(
        0, low=0, high=MAX_INDEX, unit="index", doc="which random orthogonal matrix; 0 the identity"
    )


class _Rotated(Numbered, ObservationChannel):
    physics_type = ObservationRotation
    observation_rotation: Value

    def _widened(self, space: gym.Space[Any]) -> gym.spaces.Box:
        space = floats(space)
        if (size := int(np.prod(space.shape))) > _LARGEST:
            raise TypeError(f"an observation of {size} elements is too large to rotate: at most {_LARGEST} can be")
        farthest = np.full(space.shape, np.sqrt(np.square(reach(space)).sum()))
        return widened(space, -farthest, farthest)

    def _write_physics(self) -> None:
        super()._write_physics()
        if not self._idle:  # a large matrix takes its time
            self._matrix = self._drawn("observation_rotation", lambda rng: _orthogonal(rng, self._size))

    def _changed(self, flat: NDArray[Any]) -> NDArray[Any]:
        # One product of matrix and vector a copy: a product of matrices would round differently as N changes.
        return np.asarray(np.matmul(self._matrix, flat[:, :, None])[:, :, 0])


class RotateObservationVector(_Rotated, ObservationLayerVector):
    """Multiply each copy's observation by the random orthogonal matrix number `observation_rotation`."""


@layers.register("rotate_observation", vector=RotateObservationVector, preserves_optimum=True)
class RotateObservation(_Rotated, ObservationLayer):
    """Multiply the observation by the random orthogonal matrix number `observation_rotation`.

    Matrices are uniform over all rotations and reflections (Haar measure); number 0 is the identity. Elements mix, so
    they should be of like size: rotate normalised observations.
    """


def _orthogonal(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Return Q of a Gaussian matrix, its signs fixed to make it uniform (Mezzadri 2007, arXiv:math-ph/0609050)."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return np.asarray(q * np.where(np.diag(r) < 0.0, -1.0, 1.0))
