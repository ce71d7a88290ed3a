"""Parametric layer: the action is noisy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from lopgym.envs.action_channel import ActionLayer, ActionLayerVector, BoxActionChannel
from lopgym.envs.channel import column
from lopgym.envs.layers import layers
from lopgym.envs.luck import Luck
from lopgym.envs.world import Mask
from lopgym.physics import Physics, Value, param


@dataclass(frozen=True, eq=False)
class ActionNoise(Physics):
    """How noisy."""

    action_noise: float = param(
        0.0, low=0.0, high=100.0, unit="of the action", doc="standard deviation of what is added to each element"
    )


class _Noisy(BoxActionChannel):
    physics_type = ActionNoise
    kept = ("_luck",)
    action_noise: Value

    def _fit(self) -> None:
        super()._fit()
        self._luck = Luck("action_noise", self._copies, self._size)

    def _begin(self, mask: Mask, seeds: Sequence[int | None]) -> None:
        self._luck.begin(mask, seeds)

    def _act(self, actions: NDArray[Any]) -> NDArray[Any]:
        self._luck.step()
        return super()._act(actions)

    def _moved(self, flat: NDArray[Any]) -> NDArray[Any]:
        return flat + column(self.action_noise) * self._luck.normal()


class NoiseActionVector(_Noisy, ActionLayerVector):
    """Add normal noise of standard deviation `action_noise` to each copy's action."""


@layers.register("noise_action", vector=NoiseActionVector, preserves_optimum=False)
class NoiseAction(_Noisy, ActionLayer):
    """Add normal noise of standard deviation `action_noise` to the action, and keep it within the bounds of the space.

    The noise is independent from element to element and from step to step, and follows from the seed of `reset`.
    """
