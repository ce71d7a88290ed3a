"""Parametric layer: the action is multiplied by a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.action_channel import ActionLayer, ActionLayerVector, BoxActionChannel
from lopgym.envs.channel import column
from lopgym.envs.layers import layers
from lopgym.physics import Physics, Value, param


@dataclass(frozen=True, eq=False)
class ActionScale(Physics):
    """The number."""

    action_scale: float = param(1.0, low=0.0, high=10.0, unit="1", doc="what the action is multiplied by")


class _Scaled(BoxActionChannel):
    physics_type = ActionScale
    action_scale: Value

    def _moved(self, flat: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(flat * column(self.action_scale))


class ScaleActionVector(_Scaled, ActionLayerVector):
    """Multiply each copy's action by `action_scale`."""


@layers.register("scale_action", vector=ScaleActionVector, preserves_optimum=False)
class ScaleAction(_Scaled, ActionLayer):
    """Multiply the action by `action_scale`, and keep it within the bounds of the space.

    Below 1, actuators have lost strength, and far actions are out of reach; above 1, near ones are hard to hit.
    """
