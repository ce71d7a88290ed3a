"""Parametric layer: another action is done by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.action_channel import ActionChannel, ActionLayer, ActionLayerVector
from lopgym.envs.layers import layers
from lopgym.envs.luck import Luck
from lopgym.envs.permute_action import discrete
from lopgym.envs.world import Mask
from lopgym.physics import Physics, Value, param


@dataclass(frozen=True, eq=False)
class ActionSlip(Physics):
    """How often."""

    action_slip: float = param(0.0, low=0.0, high=1.0, unit="1", doc="probability that the action is a random one")


class _Slipping(ActionChannel):
    physics_type = ActionSlip
    kept = ("_luck",)
    action_slip: Value

    def _fit(self) -> None:
        self._space = discrete(self._acted)
        self._luck = Luck("action_slip", self._copies, 2)

    def _begin(self, mask: Mask, seeds: Sequence[int | None]) -> None:
        self._luck.begin(mask, seeds)

    def _act(self, actions: NDArray[Any]) -> NDArray[Any]:
        self._luck.step()
        return super()._act(actions)

    def _changed(self, actions: NDArray[Any]) -> NDArray[Any]:
        slips, which = self._luck.uniform().T
        drawn = self._space.start + (which * float(self._space.n)).astype(np.int64)
        return np.where(slips < self.action_slip, drawn, actions)


class SlipActionVector(_Slipping, ActionLayerVector):
    """Let each copy do any of its actions with probability `action_slip`, instead of the one that was chosen."""


@layers.register("slip_action", vector=SlipActionVector, preserves_optimum=False)
class SlipAction(_Slipping, ActionLayer):
    """Do any of the actions, all with even odds, instead of the one chosen, with probability `action_slip`.

    It is to discrete actions what `noise_action` is to continuous ones. The action chosen is among those drawn.
    """
