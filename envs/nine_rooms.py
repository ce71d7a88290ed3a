"""Nine rooms: a grid world of rooms, in which the doors move."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from lopgym.bounds import NonNegativeInt, PositiveInt
from lopgym.envs import environments
from lopgym.envs.grid import BatchedGrid
from lopgym.seeding import generator


@environments.register(
    "nine_rooms", id="NineRooms-v0", max_episode_steps=200, drifts={"goal": {"kind": "count", "period": 16_384}}
)
class BatchedNineRooms(BatchedGrid):
    """Walk through rooms to the good one of two hidden flags; flags, doors, slip and the sign of reward change.

    ## Description
    Rooms in a square, three by three, with one door between any two neighbours. It is `GridWorld-v0` in a house: the
    same flags and the same floor, but the way is long, and a moved door changes it.

    ## Action Space
    `Discrete(4)`: one cell down, up, right, left; with probability `slip` one of the four at random instead. Walls
    stop the walker.

    ## Observation Space
    `Box(0, 1, (planes * side * side,), float32)`, plane by plane, row by row. Whole house
    (`side` = `rooms` * (`room` + 1) - 1): a plane with 1 at the walker, one with 1 at the walls. Through a window
    around the walker (`side` = 2 `window` + 1): the walls only; outside the house all is wall. With `see_goal`, two
    more planes with 1 at the first and at the second flag. What is farther than `sight` from the walker, in rows or in
    columns, reads 0.

    ## Rewards
    `reward_sign` at the first flag, -`reward_sign` at the second, else 0.

    ## Starting State
    A cell without wall or flag, uniform.

    ## Episode End
    Termination at a flag; truncation after 200 steps.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `goal` | index | `count`, `period` 16 384 |
    | `walls` | index | none |
    | `reward_sign` | 1 | none |
    | `slip` | 1 | none |
    | `sight` | cells | none |

    `goal` names a random order of all cells and `walls` a random place for every door, both functions of `world_seed`;
    the flags stand on the first two cells of the order that are no wall. A walker in a door that is walled up can
    walk off.

    ## Arguments
    `rooms` (3, at least 2) and `room` (3): rooms a side, and cells a side of a room. `window` (0): cells seen on each
    side of the walker, 0 for the whole house. `see_goal` (false): whether the flags can be seen. `world_seed` (0):
    flags and doors. All but the last shape the observation, so they cannot change at run time.

    ## Version History
    * v0: first version.
    """

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        *,
        rooms: Annotated[int, Ge(2)] = 3,
        room: PositiveInt = 3,
        window: NonNegativeInt = 0,
        see_goal: bool = False,
        world_seed: int = 0,
    ) -> None:
        """Set up N houses."""
        self._rooms, self._cells = rooms, room
        size = rooms * (room + 1) - 1
        super().__init__(num_envs, render_mode, size=size, window=window, see_goal=see_goal, world_seed=world_seed)

    def _draw_walls(self, walls: int) -> NDArray[np.bool_]:
        """Draw a wall after every `room` cells, and a door in it for every pair of neighbours."""
        pitch, house = self._cells + 1, np.zeros((self._size, self._size), dtype=np.bool_)
        house[self._cells :: pitch] = house[:, self._cells :: pitch] = True
        doors = generator(self._world_seed, "walls", walls).integers(
            self._cells, size=(2, self._rooms - 1, self._rooms)
        )
        for wall, along in np.ndindex(self._rooms - 1, self._rooms):
            across, (down, right) = wall * pitch + self._cells, along * pitch + doors[:, wall, along]
            house[across, right] = house[down, across] = False
        return house
