"""Parametric layer: one actuator is dead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.action_channel import ActionLayer, ActionLayerVector, BoxActionChannel
from lopgym.envs.channel import column
from lopgym.envs.layers import layers
from lopgym.envs.variants import MAX_INDEX
from lopgym.physics import Physics, Value, param


@dataclass(frozen=True, eq=False)
class DeadActuator(Physics):
    """Which one."""

    dead_actuator: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which element of the action; 0 none")


class _Disabled(BoxActionChannel):
    physics_type = DeadActuator
    dead_actuator: Value

    def _write_physics(self) -> None:
        super()._write_physics()
        self._dead = np.arange(self._size) == (column(self.dead_actuator) - 1) % self._size

    def _moved(self, flat: NDArray[Any]) -> NDArray[Any]:
        return np.where(self._dead, np.zeros((), dtype=flat.dtype), flat)


class DisableActionVector(_Disabled, ActionLayerVector):
    """Let element number `dead_actuator` of each copy's action be 0."""


@layers.register("disable_action", vector=DisableActionVector, preserves_optimum=False)
class DisableAction(_Disabled, ActionLayer):
    """Let element number `dead_actuator` of the action be 0, or the bound nearest to 0.

    Elements are counted from 1, and after the last from 1 again, so that a `count` goes round; 0 disables none.
    """
