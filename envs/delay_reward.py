"""Parametric layer: the reward is paid late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.layers import layers
from lopgym.envs.reward_channel import RewardChannel, RewardLayer, RewardLayerVector
from lopgym.envs.world import Mask
from lopgym.physics import Physics, Value, param

_LONGEST = 100


@dataclass(frozen=True, eq=False)
class RewardDelay(Physics):
    """How late."""

    reward_delay: int = param(0, low=0, high=_LONGEST, unit="steps", doc="time from earning to being paid")


class _Delayed(RewardChannel):
    physics_type = RewardDelay
    kept = ("_owed", "_today", "_debt_until")
    reward_delay: Value

    def _fit(self) -> None:
        self._rows = np.arange(self._copies)
        self._owed = np.zeros((self._copies, _LONGEST + 1))  # a ring of pay days
        self._today = np.zeros(self._copies, dtype=np.int64)
        self._debt_until = np.zeros(self._copies, dtype=np.int64)  # the last pay day for which something is owed

    def _begin(self, mask: Mask, seeds: Sequence[int | None]) -> None:
        self._owed[mask] = 0.0
        self._today[mask] = self._debt_until[mask] = 0

    def _pay(self, rewards: NDArray[Any], ended: Mask) -> NDArray[Any]:
        self._today += 1
        free = self._resting & (self._debt_until < self._today)  # owed nothing, paid at once
        return rewards if free.all() else np.where(free, rewards, self._late(rewards, free, ended))

    def _late(self, rewards: NDArray[Any], free: Mask, ended: Mask) -> NDArray[Any]:
        """Return what falls due today in the copies that are not free, all that is owed where an episode ends."""
        due = self._today + self.reward_delay
        self._owed[self._rows, due % (_LONGEST + 1)] += np.where(free, 0.0, rewards)
        self._debt_until = np.where(free, self._debt_until, np.maximum(self._debt_until, due))
        day = self._today % (_LONGEST + 1)
        paid = np.where(ended, self._owed.sum(axis=1), self._owed[self._rows, day])
        self._owed[self._rows, day] = 0.0
        self._owed[ended] = 0.0
        self._debt_until[ended] = 0
        return paid


class DelayRewardVector(_Delayed, RewardLayerVector):
    """Pay each copy's reward `reward_delay` steps late."""


@layers.register("delay_reward", vector=DelayRewardVector, preserves_optimum=False)
class DelayReward(_Delayed, RewardLayer):
    """Pay the reward `reward_delay` steps late, and at the end of an episode all that is owed.

    So the sum over an episode is what it was. An end that this layer does not see, a time limit or a change of task
    outside it, leaves the rest unpaid. A reward keeps the pay day it got when it was earned.
    """
