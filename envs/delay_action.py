"""Parametric layer: the action is done late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.action_channel import ActionChannel, ActionLayer, ActionLayerVector
from lopgym.envs.channel import arrays
from lopgym.envs.history import History
from lopgym.envs.layers import layers
from lopgym.envs.world import Mask
from lopgym.physics import Physics, Value, param

_LONGEST = 50


@dataclass(frozen=True, eq=False)
class ActionDelay(Physics):
    """How late."""

    action_delay: int = param(0, low=0, high=_LONGEST, unit="steps", doc="age of what is done")


class _Delayed(ActionChannel):
    physics_type = ActionDelay
    kept = ("_history", "_first")
    action_delay: Value

    def _fit(self) -> None:
        arrays(self._acted)
        self._history = History(_LONGEST)
        self._first = np.ones(self._copies, dtype=np.bool_)

    def _begin(self, mask: Mask, seeds: Sequence[int | None]) -> None:
        self._first = self._first | mask

    def _act(self, actions: NDArray[Any]) -> NDArray[Any]:
        self._history.push(actions)
        if self._first.any():
            self._history.begin(self._first, actions)
            self._first = np.zeros(self._copies, dtype=np.bool_)
        return super()._act(actions)

    def _changed(self, actions: NDArray[Any]) -> NDArray[Any]:
        return self._history.back(self.action_delay)


class DelayActionVector(_Delayed, ActionLayerVector):
    """Let each copy do what it was told `action_delay` steps ago."""


@layers.register("delay_action", vector=DelayActionVector, preserves_optimum=False)
class DelayAction(_Delayed, ActionLayer):
    """Do what was chosen `action_delay` steps ago; until then, the first action of the episode."""
