"""Observation channels: layers that change what the agent sees."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lopgym.envs.channel import ONE, Channel, SingleLayer, VectorLayer
from lopgym.envs.world import Mask, reset_mask


class ObservationChannel(Channel):
    """A channel that changes observations. Its space holds whatever any value of its parameters makes of them."""

    _space: gym.Space[Any]

    def _fit(self) -> None:
        self._space = self._widened(self._seen)
        self._size = int(np.prod(self._space.shape or (1,)))

    def _widened(self, space: gym.Space[Any]) -> gym.Space[Any]:
        """Return the space of changed observations; TypeError if there is no changing those of `space`."""
        raise NotImplementedError

    def _changed(self, flat: NDArray[Any]) -> NDArray[Any]:
        """Return changed observations, a new array of shape (N, D) for (N, D)."""
        raise NotImplementedError

    def _show(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Return what is seen of the observations of a step, shape (N, *S)."""
        if self._idle:
            return observations
        flat = observations.reshape(len(observations), -1)
        shown = self._changed(flat)
        if self._some_rest:
            shown = self._kept(flat, shown)
        return shown.astype(observations.dtype, copy=False).reshape(observations.shape)

    def _show_first(self, mask: Mask, observations: NDArray[Any]) -> NDArray[Any]:
        """Return what is seen when the masked copies begin."""
        return self._show(observations)


class ObservationLayer(ObservationChannel, SingleLayer):
    """The wrapper of a single environment that carries an observation channel."""

    def _fit(self) -> None:
        super()._fit()
        self.observation_space = self._space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = super().reset(seed=seed, options=options)
        return self._show_first(ONE, np.asarray(observation)[None])[0], info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._show(np.asarray(observation)[None])[0], reward, terminated, truncated, info


class ObservationLayerVector(ObservationChannel, VectorLayer):
    """The wrapper of a batch that carries an observation channel."""

    def _fit(self) -> None:
        super()._fit()
        self.single_observation_space = self._space
        self.observation_space = batch_space(self._space, self._copies)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin episodes, of all copies or of `options["reset_mask"]`."""
        mask = reset_mask(options, self._copies)
        observations, info = super().reset(seed=seed, options=options)
        return self._show_first(mask, observations), info

    def step(self, actions: NDArray[Any]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every copy."""
        observations, reward, terminated, truncated, info = self.env.step(actions)
        return self._show(observations), reward, terminated, truncated, info


def box(space: gym.Space[Any], why: str) -> gym.spaces.Box:
    """Return the space if it is a Box.

    Raises:
        TypeError: it is not; `why` says what then cannot be done.
    """
    if not isinstance(space, gym.spaces.Box):
        raise TypeError(f"the observations of {space} {why}: only those of a Box can")
    return space


def floats(space: gym.Space[Any]) -> gym.spaces.Box:
    """Return the space if it is a Box of floats.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(space, gym.spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise TypeError(f"the observations of {space} are no numbers to reckon with: only those of a Box of floats are")
    return space


def widened(space: gym.spaces.Box, low: NDArray[Any], high: NDArray[Any]) -> gym.spaces.Box:
    """Return the Box with these bounds, a hair wider than the rounding of its dtype."""
    slack = 1.0 + 1e-6
    with np.errstate(over="ignore"):  # bounds too large for the dtype are infinite
        low = np.minimum(low * slack, low / slack).astype(space.dtype)
        high = np.maximum(high * slack, high / slack).astype(space.dtype)
    return gym.spaces.Box(low, high, space.shape, space.dtype.type)


def reach(space: gym.spaces.Box) -> NDArray[np.float64]:
    """Return the largest absolute value of each element, shape S."""
    return np.maximum(np.abs(space.low.astype(np.float64)), np.abs(space.high.astype(np.float64)))
