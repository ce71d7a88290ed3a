"""Recoded grid: find a hidden goal on a board whose cells look different in every task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from lopgym.bounds import PositiveInt
from lopgym.envs import environments
from lopgym.envs.painting import GOOD, INK, Image, board
from lopgym.envs.variants import MAX_INDEX, variants
from lopgym.envs.world import BatchedWorld, Mask
from lopgym.physics import Physics, Value, param
from lopgym.seeding import generator

_MOVES = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])  # (action, row and column)


@dataclass(frozen=True, eq=False)
class RecodedGridPhysics(Physics):
    """What can drift."""

    code: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random look of the cells")
    goal: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random cell is the goal")


@environments.register(
    "recoded_grid",
    id="RecodedGrid-v0",
    drifts={"code": {"kind": "count", "period": 4096}, "goal": {"kind": "count", "period": 4096}},
)
class BatchedRecodedGrid(BatchedWorld):
    """Walk to a hidden goal; every so often the goal moves and all cells look different.

    ## Description
    A square board on which each cell is known only by a random vector, its code. Both the codes and the goal are drawn
    again together, so nothing that was learnt about a cell is of use afterwards.

    ## Action Space
    `Discrete(4)`: one cell down, up, right, left. Walls stop the walker.

    ## Observation Space
    `Box(-inf, inf, (features,), float32)`: the code of the cell, drawn from N(0, I). The goal cannot be seen.

    ## Rewards
    1 on reaching the goal, else 0.

    ## Starting State
    A cell, uniform (the goal too). The first episode after seeding starts with a uniform time already used up, so that
    copies do not time out together.

    ## Episode End
    Termination at the goal, and after `horizon` steps. The time-out is a termination, not a truncation: it is part of
    the task, although the time cannot be seen, so nothing is bootstrapped there and values stay below 1.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `code` | index | `count`, `period` 4096 |
    | `goal` | index | `count`, `period` 4096 |

    Codes are a function of `world_seed` and `code`, the goal (a uniform cell) of `world_seed` and `goal`.

    ## Arguments
    `size` (5, at least 2): cells a side. `features` (16): length of a code. `horizon` (25): longest episode.
    `world_seed` (0): codes and goals. None of them can change at run time; episodes are cut earlier by `max_steps`.

    ## Version History
    * v0: first version.
    """

    physics_type = RecodedGridPhysics
    kept = ("_place", "_time")
    code: Value
    goal: Value

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        *,
        size: Annotated[int, Ge(2)] = 5,
        features: PositiveInt = 16,
        horizon: PositiveInt = 25,
        world_seed: int = 0,
    ) -> None:
        """Draw the first codes and the first goal."""
        self._size, self._features, self._horizon, self._world_seed = size, features, horizon, world_seed
        self._place, self._time = np.zeros((num_envs, 2), dtype=np.int64), np.zeros(num_envs, dtype=np.int64)
        observation = gym.spaces.Box(-np.inf, np.inf, (features,), np.float32)
        super().__init__(num_envs, render_mode, observation, gym.spaces.Discrete(len(_MOVES)))

    def _write_physics(self) -> None:
        super()._write_physics()
        self._codes, self._look = variants(self.code, self._draw_code)
        goals, which = variants(self.goal, self._draw_goal)
        self._goal = goals[which]

    def _draw_code(self, code: int) -> NDArray[np.float32]:
        cells = (self._size**2, self._features)
        return generator(self._world_seed, "code", code).standard_normal(cells, dtype=np.float32)

    def _draw_goal(self, goal: int) -> NDArray[np.int64]:
        return generator(self._world_seed, "goal", goal).integers(self._size, size=2)

    def _begin(self, mask: Mask) -> None:
        cell = self.integers(self._size**2)
        used = np.where(self.count == 0, self.integers(self._horizon, draw=1), 0)
        self._place[mask] = np.stack(np.divmod(cell, self._size), axis=1)[mask]
        self._time[mask] = used[mask]

    def _observe(self) -> NDArray[np.float32]:
        codes: NDArray[np.float32] = self._codes[self._look, self._place[:, 0] * self._size + self._place[:, 1]]
        return codes

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        # np.clip costs twice as much on arrays this small.
        self._place = np.minimum(np.maximum(self._place + _MOVES[actions], 0), self._size - 1)
        self._time += 1
        there = (self._place == self._goal).all(axis=1)
        return there.astype(np.float64), there | (self._time >= self._horizon)

    def _paint(self, copy: int) -> Image:
        image = board(self._size, self._size)
        image[tuple(np.broadcast_to(self._goal, self._place.shape)[copy])] = GOOD
        image[tuple(self._place[copy])] = INK
        return image
