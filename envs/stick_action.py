"""Parametric layer: the action sticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.action_channel import ActionChannel, ActionLayer, ActionLayerVector
from lopgym.envs.channel import arrays
from lopgym.envs.layers import layers
from lopgym.envs.luck import Luck
from lopgym.envs.world import Mask
from lopgym.physics import Physics, Value, param


@dataclass(frozen=True, eq=False)
class ActionStickiness(Physics):
    """How often."""

    action_stickiness: float = param(
        0.0, low=0.0, high=1.0, unit="1", doc="probability that the action before is repeated"
    )


class _Sticky(ActionChannel):
    physics_type = ActionStickiness
    kept = ("_luck", "_last", "_first")
    action_stickiness: Value

    def _fit(self) -> None:
        space = arrays(self._acted)
        self._luck = Luck("action_stickiness", self._copies)
        self._last = np.zeros((self._copies, *(space.shape or ())), dtype=space.dtype)
        self._first = np.ones(self._copies, dtype=np.bool_)

    def _begin(self, mask: Mask, seeds: Sequence[int | None]) -> None:
        self._luck.begin(mask, seeds)
        self._first = self._first | mask

    def _act(self, actions: NDArray[Any]) -> NDArray[Any]:
        self._luck.step()
        told = super()._act(actions)
        self._last, self._first = np.array(told), np.zeros(self._copies, dtype=np.bool_)
        return told

    def _changed(self, actions: NDArray[Any]) -> NDArray[Any]:
        stuck = (self._luck.uniform()[:, 0] < self.action_stickiness) & ~self._first
        return np.where(stuck.reshape(-1, *(1,) * (actions.ndim - 1)), self._last, actions)


class StickActionVector(_Sticky, ActionLayerVector):
    """Let each copy repeat what it did before with probability `action_stickiness`."""


@layers.register("stick_action", vector=StickActionVector, preserves_optimum=False)
class StickAction(_Sticky, ActionLayer):
    """Repeat what was done at the step before, whatever the action, with probability `action_stickiness`.

    The sticky actions of Machado et al. 2018 (arXiv:1709.06009, section 5.2), who use 0.25. The first action of an
    episode is always done.
    """
