"""Grid world: walk to the good one of two hidden flags, between pillars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from lopgym.bounds import Fraction, NonNegativeInt
from lopgym.envs import environments
from lopgym.envs.grid import BatchedGrid, GridPhysics
from lopgym.physics import param
from lopgym.seeding import generator

_LEAST = 3  # cells a side


@dataclass(frozen=True, eq=False)
class GridWorldPhysics(GridPhysics):
    """What can drift: all of a board's, and how large it is."""

    shrinkage: int = param(0, low=0, high=1000, unit="cells", doc="how much smaller the board is, a side; 3 stay")


@environments.register(
    "grid_world", id="GridWorld-v0", max_episode_steps=100, drifts={"goal": {"kind": "count", "period": 8192}}
)
class BatchedGridWorld(BatchedGrid):
    """Walk between pillars to the good one of two hidden flags; flags, pillars, slip and the sign of reward change.

    ## Description
    A square board with pillars, no two of which touch, so that every cell can be reached, and two flags: one pays, the
    other costs. Flags move, pay the other way round, pillars are set up anew, the floor gets slippery, fog comes up,
    the board grows or shrinks.

    ## Action Space
    `Discrete(4)`: one cell down, up, right, left; with probability `slip` one of the four at random instead. Pillars
    and the edge of the board stop the walker.

    ## Observation Space
    `Box(0, 1, (planes * side * side,), float32)`, plane by plane, row by row. Whole board (`side` = `size`): a plane
    with 1 at the walker, one with 1 at the pillars. Through a window around the walker (`side` = 2 `window` + 1): the
    pillars only; outside the board all is pillar. With `see_goal`, two more planes with 1 at the first and at the
    second flag. What is farther than `sight` from the walker, in rows or in columns, reads 0.

    ## Rewards
    `reward_sign` at the first flag, -`reward_sign` at the second, else 0.

    ## Starting State
    A cell without pillar or flag, uniform.

    ## Episode End
    Termination at a flag; truncation after 100 steps.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `goal` | index | `count`, `period` 8192 |
    | `walls` | index | none |
    | `reward_sign` | 1 | none |
    | `slip` | 1 | none |
    | `sight` | cells | none |
    | `shrinkage` | cells | none |

    `goal` names a random order of all cells and `walls` a random set of pillars, both functions of `world_seed`; the
    flags stand on the first two cells of the order that have no pillar. A walker on whose cell a pillar is set up can
    walk off. `shrinkage` walls off as many rows below and columns to the right, but leaves 3 of each; a walker who is
    out there stays until the episode ends, so that it goes best with `apply` `reset` or `truncate`.

    ## Arguments
    `size` (8, at least 3): cells a side. `pillars` (0.15): share of the cells that are pillars, as far as there is room
    (about a fifth). `window` (0): cells seen on each side of the walker, 0 for the whole board. `see_goal` (false):
    whether the flags can be seen. `world_seed` (0): flags and pillars. None of them can change at
    run time, for `size`, `window` and `see_goal` shape the observation; `shrinkage` and `sight` can.

    ## Version History
    * v0: first version.
    """

    physics_type = GridWorldPhysics
    board_follows = BatchedGrid.board_follows | {"shrinkage"}
    shrinkage: Any

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        *,
        size: Annotated[int, Ge(_LEAST)] = 8,
        pillars: Fraction = 0.15,
        window: NonNegativeInt = 0,
        see_goal: bool = False,
        world_seed: int = 0,
    ) -> None:
        """Set up N boards."""
        self._pillars = pillars
        super().__init__(num_envs, render_mode, size=size, window=window, see_goal=see_goal, world_seed=world_seed)

    def _draw_walls(self, walls: int) -> NDArray[np.bool_]:
        """Set up pillars one by one where none of the eight cells around has one: that never cuts the board."""
        rimmed = np.zeros((self._size + 2, self._size + 2), dtype=np.bool_)
        left = round(self._pillars * self._size**2)
        for cell in generator(self._world_seed, "walls", walls).permutation(self._size**2):
            row, column = divmod(int(cell), self._size)
            if left and not rimmed[row : row + 3, column : column + 3].any():
                rimmed[row + 1, column + 1] = True
                left -= 1
        return rimmed[1:-1, 1:-1]

    def _draw_outside(self) -> NDArray[np.bool_]:
        open_cells = np.maximum(self._size - np.reshape(self.shrinkage, (-1, 1)), _LEAST)
        row, column = np.divmod(np.arange(self._size**2), self._size)
        return np.asarray((row >= open_cells) | (column >= open_cells))
