"""Parametric layer: the agent takes over after some random steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lopgym.envs.channel import Channel, SingleLayer, VectorLayer
from lopgym.envs.layers import layers
from lopgym.envs.luck import Luck
from lopgym.envs.world import Mask
from lopgym.physics import Physics, Value, param

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StartSteps(Physics):
    """How many."""

    start_steps: int = param(
        0, low=0, high=1000, unit="steps", doc="most random steps that an episode begins with, before the agent acts"
    )


class _Advanced(Channel):
    physics_type = StartSteps
    kept = ("_luck",)
    start_steps: Value

    def _fit(self) -> None:
        size = int(np.prod(self._acted.shape or (1,)))
        _drawn(self._acted, np.zeros(size))
        self._luck = Luck("start_steps", self._copies, size)

    def _begin(self, mask: Mask, seeds: Sequence[int | None]) -> None:
        self._luck.begin(mask, seeds)


class AdvanceStartVector(_Advanced, VectorLayer):
    """Refuse: a batch steps all its copies at once, so none can take steps of its own before its episode begins."""

    def _fit(self) -> None:
        raise TypeError(
            "start_steps cannot drift in a native batch, which steps all its copies at once: make separate copies, "
            "lopgym.envs.build.make_vec(..., vectorization_mode='sync')"
        )


@layers.register("advance_start", vector=AdvanceStartVector, preserves_optimum=False, single_only=True)
class AdvanceStart(_Advanced, SingleLayer):
    """Begin an episode with random steps, 0 to `start_steps` of them, before the agent acts.

    Their number and the actions are uniform and follow from the seed of `reset`. They happen inside `reset`: no clock
    counts them, nobody is paid for them, and what is seen first, with its info, is of the last one. If they end the
    episode, another begins and the rest is taken there. So anybody's environment starts elsewhere, also one that cannot
    be set to a state; Atari players do nothing instead, for up to 30 steps (Mnih et al. 2015,
    doi:10.1038/nature14236). Only for separate copies: a native batch steps all its copies at once.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, and take the random steps."""
        observation, info = super().reset(seed=seed, options=options)
        number = int(self._luck.uniform()[0, 0] * (int(self.start_steps) + 1))
        for _ in range(number):
            self._luck.step()
            observation, _, terminated, truncated, info = self.env.step(_drawn(self._acted, self._luck.uniform()[0]))
            if terminated or truncated:
                observation, info = self.env.reset(options=options)
        return observation, info


@singledispatch
def _drawn(space: Any, luck: Numbers) -> Any:
    """Return an action of a space, from as many uniform numbers in [0, 1) as it has elements.

    Raises:
        TypeError: its actions have no uniform distribution, or one that nobody asked for yet.
    """
    raise TypeError(f"no action of {space} can be drawn: only of a bounded Box of floats and of discrete spaces")


@_drawn.register
def _(space: gym.spaces.Discrete, luck: Numbers) -> Any:
    return space.start + np.int64(luck[0] * int(space.n))


@_drawn.register
def _(space: gym.spaces.MultiDiscrete, luck: Numbers) -> Any:
    return space.start + (luck.reshape(space.shape) * space.nvec).astype(space.dtype)


@_drawn.register
def _(space: gym.spaces.MultiBinary, luck: Numbers) -> Any:
    return (luck.reshape(space.shape) < 0.5).astype(space.dtype)


@_drawn.register
def _(space: gym.spaces.Box, luck: Numbers) -> Any:
    if not space.is_bounded() or not np.issubdtype(space.dtype, np.floating):
        return _drawn.dispatch(object)(space, luck)  # refused
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    return (low + (high - low) * luck.reshape(space.shape)).astype(space.dtype)
