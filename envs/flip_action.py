"""Parametric layer: elements of the action are turned round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.action_channel import ActionLayer, ActionLayerVector, BoxActionChannel
from lopgym.envs.channel import Numbered
from lopgym.envs.layers import layers
from lopgym.envs.variants import MAX_INDEX
from lopgym.physics import Physics, Value, param


@dataclass(frozen=True, eq=False)
class ActionSigns(Physics):
    """Which signs."""

    action_signs: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random signs; 0 none changed")


class _Flipped(Numbered, BoxActionChannel):
    physics_type = ActionSigns
    action_signs: Value

    def _fit(self) -> None:
        super()._fit()
        if not (np.isfinite(self._low) & np.isfinite(self._high)).all():
            raise TypeError(f"the actions of {self._acted} have no middle to be turned round: only a bounded Box has")

    def _write_physics(self) -> None:
        super()._write_physics()
        self._turned = self._drawn("action_signs", lambda rng: rng.random(self._size) < 0.5)

    def _moved(self, flat: NDArray[Any]) -> NDArray[Any]:
        return np.where(self._turned, self._low + self._high - flat, flat)


class FlipActionVector(_Flipped, ActionLayerVector):
    """Turn elements of each copy's action round: random signs number `action_signs`."""


@layers.register("flip_action", vector=FlipActionVector, preserves_optimum=True)
class FlipAction(_Flipped, ActionLayer):
    """Turn elements of the action round the middle of their bounds: random signs number `action_signs`.

    Every element is turned or left with even odds; number 0 turns none. Where the bounds are -b and b, this is a change
    of sign.
    """
