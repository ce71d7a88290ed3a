"""Catch: a ball falls, a paddle waits below."""

from __future__ import annotations

from typing import Annotated, Any

import gymnasium as gym
import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from lopgym.bounds import PositiveInt
from lopgym.envs import environments
from lopgym.envs.painting import INK, WARM, Image, board
from lopgym.envs.world import BatchedWorld, Mask


@environments.register(
    "catch",
    id="Catch-v0",
    wrappers=("permute_action", "permute_observation"),
    drifts={
        "observation_order": {"kind": "count", "period": 800},
        "action_order": {"kind": "count", "period": 800},
    },
)
class BatchedCatch(BatchedWorld):
    """Catch a falling ball while the pixels and the buttons are shuffled again and again.

    ## Description
    A ball falls one row a step through a board of pixels; the paddle in the last row has to be below it when it
    arrives. The rules never change, but what each pixel and each button stands for does: every task is the same game
    in a new code, so a network has to learn it anew, and is as able to as at first if it has kept its plasticity. The
    game is Catch of bsuite (Osband et al. 2020, arXiv:1908.03568), on a smaller board.

    ## Action Space
    `Discrete(3)`: 0 left, 1 stay, 2 right, sent through the random order number `action_order`. Walls stop the paddle.

    ## Observation Space
    `Box(0, 1, (rows * columns,), float32)`: 1 at the ball and at the paddle, 0 elsewhere, row by row, its elements in
    the random order number `observation_order`.

    ## Rewards
    When the ball arrives, +1 if the paddle is below it, else -1; before that, 0. A perfect player gets 1 an episode,
    a random one about -0.6.

    ## Starting State
    The ball in the first row, its column uniform; the paddle in the middle of the last row.

    ## Episode End
    Termination when the ball reaches the last row: after `rows - 1` steps.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `observation_order` | index | `count`, `period` 800 |
    | `action_order` | index | `count`, `period` 800 |

    Both orders are functions of `world_seed` and of the value; 0 is as random as any other. `drifts={}` keeps order 0.

    ## Arguments
    `rows` (6, at least 2) and `columns` (5): size of the board. It shapes the observation, so it cannot change at run
    time.

    ## Version History
    * v0: first version.
    """

    kept = ("_row", "_ball", "_paddle")

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        *,
        rows: Annotated[int, Ge(2)] = 6,
        columns: PositiveInt = 5,
    ) -> None:
        """Set up N boards."""
        observation = gym.spaces.Box(0.0, 1.0, (rows * columns,), np.float32)
        super().__init__(num_envs, render_mode, observation, gym.spaces.Discrete(3))
        self._rows, self._columns, self._copies = rows, columns, np.arange(num_envs)
        self._row, self._ball, self._paddle = (np.zeros(num_envs, dtype=np.int64) for _ in range(3))

    def _begin(self, mask: Mask) -> None:
        self._row[mask] = 0
        self._ball[mask] = self.integers(self._columns)[mask]
        self._paddle[mask] = self._columns // 2

    def _observe(self) -> NDArray[np.float32]:
        pixels = np.zeros((self.num_envs, self._rows * self._columns), dtype=np.float32)
        pixels[self._copies, self._row * self._columns + self._ball] = 1.0
        pixels[self._copies, (self._rows - 1) * self._columns + self._paddle] = 1.0
        return pixels

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        # np.clip costs twice as much on arrays this small.
        self._paddle = np.minimum(np.maximum(self._paddle + actions - 1, 0), self._columns - 1)
        self._row = np.minimum(self._row + 1, self._rows - 1)
        landed = self._row == self._rows - 1
        return np.where(landed, np.where(self._paddle == self._ball, 1.0, -1.0), 0.0), landed

    def _paint(self, copy: int) -> Image:
        image = board(self._rows, self._columns)
        image[-1, self._paddle[copy]] = INK
        image[self._row[copy], self._ball[copy]] = WARM
        return image
