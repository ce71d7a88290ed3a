"""Forager: one endless walk through a field of food whose worth swings like the seasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from lopgym.bounds import Fraction
from lopgym.envs import environments
from lopgym.envs.painting import GOOD, INK, WARM, Image, board
from lopgym.envs.variants import MAX_INDEX, variants
from lopgym.envs.world import BatchedWorld, Mask
from lopgym.physics import Physics, Value, param
from lopgym.seeding import generator

_MOVES = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])  # (action, row and column)
_KINDS = 3  # of food; kind 0 is an empty cell
_COLOURS = np.stack([GOOD, WARM, np.array([117, 80, 123], dtype=np.uint8)])


@dataclass(frozen=True, eq=False)
class ForagerPhysics(Physics):
    """What can drift."""

    reward_a: float = param(1.0, low=-10.0, high=10.0, unit="1", doc="worth of food of kind a")
    reward_b: float = param(-1.0, low=-10.0, high=10.0, unit="1", doc="worth of food of kind b")
    reward_c: float = param(0.1, low=-10.0, high=10.0, unit="1", doc="worth of food of kind c")
    regrowth: int = param(10, low=0, high=1_000_000, unit="steps", doc="time that eaten food stays away")
    field: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random field, what grows where")


@environments.register(
    "forager",
    id="Forager-v0",
    drifts={
        "reward_a": {"kind": "sine", "mean": 0.0, "amplitude": 1.0, "period": 20_000},
        "reward_b": {"kind": "sine", "mean": 0.0, "amplitude": 1.0, "period": 20_000, "phase": 0.5},
    },
)
class BatchedForager(BatchedWorld):
    """Gather food in a field without end and without episodes, while good food turns bad and back again.

    ## Description
    A field that is closed on itself, like the surface of a ring: who leaves on one side enters on the other. Three
    kinds of food, a, b and c, grow in fixed cells and come back some time after they were eaten. Only the
    neighbourhood can be seen. Nothing ever ends, so there is no reset to hide behind: an agent has to keep learning in
    one life. The world is in the spirit of Foragax (arXiv:2605.01131) and of the Jelly Bean World (Platanios et al.
    2020, arXiv:2002.06306).

    ## Action Space
    `Discrete(4)`: one cell down, up, right, left.

    ## Observation Space
    `Box(0, 1, (view * view * 3,), float32)`: of each cell in the square around the walker, row by row, whether there is
    food of kind a, b, c.

    ## Rewards
    Food is eaten by stepping on it: `reward_a`, `reward_b` or `reward_c`, else 0. A random walker finds about `density`
    a step as long as nothing is eaten up.

    ## Starting State
    A cell, uniform; all food is ripe.

    ## Episode End
    Never, and there is no time limit. Limits of one's own: `max_episode_steps` of `gymnasium.make`.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `reward_a` | 1 | `sine` around 0, `amplitude` 1, `period` 20 000 |
    | `reward_b` | 1 | its opposite |
    | `reward_c` | 1 | none |
    | `regrowth` | steps | none; food that is away keeps the time that it was given |
    | `field` | index | none |

    Seasons have any form: `sine`, `square`, `fourier`, or that of a record, a `series`, whose `values` come from your
    file, with `between` `linear` and `after` `repeat`.

    Fields are a function of `world_seed` and `field`: each cell bears food with probability `density`, of any kind.
    Where something was eaten in the old field, the new one is bare for the rest of that time.

    ## Arguments
    `size` (12, at least 3): cells a side. `view` (5): cells a side of what is seen, odd, at most `size`. `density`
    (0.3): how much of the field bears food. `world_seed` (0): fields. None of them can change at run time.

    ## Version History
    * v0: first version.
    """

    physics_type = ForagerPhysics
    kept = ("_place", "_time", "_ripe")
    reward_a: Value
    reward_b: Value
    reward_c: Value
    regrowth: Value
    field: Value

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        *,
        size: Annotated[int, Ge(3)] = 12,
        view: Annotated[int, Ge(1)] = 5,
        density: Fraction = 0.3,
        world_seed: int = 0,
    ) -> None:
        """Draw the first field.

        Raises:
            ValueError: the view is even or wider than the field.
        """
        if view % 2 == 0 or view > size:
            raise ValueError(f"view={view} must be odd, so that the walker is in the middle, and at most size={size}")
        self._size, self._density, self._world_seed = size, density, world_seed
        near = np.arange(view) - view // 2
        self._near = np.stack(np.meshgrid(near, near, indexing="ij"), axis=-1).reshape(-1, 2)
        self._place, self._time = np.zeros((num_envs, 2), dtype=np.int64), np.zeros(num_envs, dtype=np.int64)
        self._ripe = np.zeros((num_envs, size**2), dtype=np.int64)  # time from which each cell has its food
        self._copies, self._drawn = np.arange(num_envs), np.array(-1)
        observation = gym.spaces.Box(0.0, 1.0, (view**2 * _KINDS,), np.float32)
        super().__init__(num_envs, render_mode, observation, gym.spaces.Discrete(len(_MOVES)))

    def _write_physics(self) -> None:
        super()._write_physics()
        if not np.array_equal(self.field, self._drawn):  # rewards move at every step, fields hardly ever
            self._fields, self._which = variants(self.field, self._draw_field)
            self._drawn = np.array(self.field)
        worth = np.zeros((self.num_envs, _KINDS + 1))
        for kind, reward in enumerate((self.reward_a, self.reward_b, self.reward_c), start=1):
            worth[:, kind] = reward
        self._worth = worth

    def _draw_field(self, field: int) -> NDArray[np.int64]:
        """Return the kind of food of each cell, 0 for none, shape (size * size,)."""
        rng = generator(self._world_seed, "field", field)
        kinds = rng.integers(1, _KINDS + 1, size=self._size**2)
        return np.where(rng.random(self._size**2) < self._density, kinds, 0)

    def _begin(self, mask: Mask) -> None:
        cell = self.integers(self._size**2)
        self._place[mask] = np.stack(np.divmod(cell, self._size), axis=1)[mask]
        self._time[mask] = 0
        self._ripe[mask] = 0

    def _food(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the kind of the ripe food in some cells of each copy, shape (N, C), 0 for none."""
        copies = self._copies[:, None]
        which = self._which if self._which.ndim == 0 else self._which[:, None]
        return np.where(self._ripe[copies, cells] <= self._time[:, None], self._fields[which, cells], 0)

    def _observe(self) -> NDArray[np.float32]:
        seen = (self._place[:, None] + self._near) % self._size
        food = self._food(seen[..., 0] * self._size + seen[..., 1])
        told: NDArray[np.bool_] = food[..., None] == np.arange(1, _KINDS + 1)
        return told.astype(np.float32).reshape(self.num_envs, -1)

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        self._place = (self._place + _MOVES[actions]) % self._size
        cell = self._place[:, 0] * self._size + self._place[:, 1]
        eaten = self._food(cell[:, None])[:, 0]
        self._time += 1
        ripe = self._ripe[self._copies, cell]
        self._ripe[self._copies, cell] = np.where(eaten > 0, self._time + self.regrowth, ripe)
        return self._worth[self._copies, eaten], np.zeros(self.num_envs, dtype=np.bool_)

    def _paint(self, copy: int) -> Image:
        image = board(self._size, self._size)
        cells = np.broadcast_to(np.arange(self._size**2), (self.num_envs, self._size**2))
        food = self._food(cells)[copy].reshape(self._size, self._size)
        image[food > 0] = _COLOURS[food[food > 0] - 1]
        image[tuple(self._place[copy])] = INK
        return image
