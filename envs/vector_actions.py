"""Actions of a batch: what NumPy would take for other actions is refused."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

_INT64, _UINT64 = np.dtype(np.int64), np.dtype(np.uint64)


class ActionCheck:
    """Refuses discrete actions that are not in the space of a batch; its own `contains` takes much longer."""

    def __init__(self, space: gym.Space[Any]) -> None:
        """Prepare to check actions, shape (N,), for this space; those of other spaces than MultiDiscrete all pass."""
        self._space = space
        self._discrete = isinstance(space, gym.spaces.MultiDiscrete)
        if isinstance(space, gym.spaces.MultiDiscrete):
            self._start = space.start if space.start.any() else None
            self._shape, self._number = space.shape, space.nvec.astype(_UINT64)

    def __call__(self, actions: Any) -> None:
        """Check actions.

        Raises:
            ValueError: they are not in the space.
        """
        if self._discrete and not self._holds(np.asarray(actions)):
            raise ValueError(f"actions {actions!r} are not in {self._space}")

    def _holds(self, given: Any) -> bool:
        if given.shape != self._shape or given.dtype.kind not in "iu":
            return False
        places = given if given.dtype == _INT64 else given.astype(_INT64)
        if self._start is not None:
            places = places - self._start
        within = places.view(_UINT64) < self._number  # what is negative becomes huge
        return bool(np.count_nonzero(within) == within.size)
