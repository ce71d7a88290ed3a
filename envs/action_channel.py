"""Action channels: layers that change what the environment is told to do."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lopgym.envs.channel import Channel, SingleLayer, VectorLayer


class ActionChannel(Channel):
    """A channel that changes actions; the action space stays what it was."""

    def _act(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Return what the copies are told to do, shape (N, *A)."""
        if self._idle:
            return actions
        told = self._changed(actions)
        return self._kept(actions, told) if self._some_rest else told

    def _changed(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Return changed actions, shape (N, *A) for (N, *A)."""
        raise NotImplementedError


class BoxActionChannel(ActionChannel):
    """A channel that reckons with the actions of a Box; what leaves its bounds is put back on them."""

    def _fit(self) -> None:
        self._low, self._high = (bound.reshape(1, -1) for bound in _box_bounds(self._acted))
        self._size = self._low.size

    def _changed(self, actions: NDArray[Any]) -> NDArray[Any]:
        told = np.maximum(self._moved(actions.reshape(len(actions), -1)), self._low)
        told = np.minimum(told, self._high)  # np.clip costs twice as much on arrays this small
        return np.asarray(told, dtype=np.result_type(actions, self._low)).reshape(actions.shape)

    def _moved(self, flat: NDArray[Any]) -> NDArray[Any]:
        """Return changed actions, within the bounds or not, shape (N, D) for (N, D)."""
        raise NotImplementedError


class ActionLayer(ActionChannel, SingleLayer):
    """The wrapper of a single environment that carries an action channel."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step."""
        given = np.asarray(action)[None]
        told = self._act(given)
        return self.env.step(action if told is given else told[0])


class ActionLayerVector(ActionChannel, VectorLayer):
    """The wrapper of a batch that carries an action channel."""

    def step(self, actions: NDArray[Any]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every copy."""
        return self.env.step(self._act(np.asarray(actions)))


def _box_bounds(space: gym.Space[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    if not isinstance(space, gym.spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise TypeError(f"the actions of {space} are no numbers to reckon with: only those of a Box of floats are")
    return space.low, space.high
