"""Boards with walls and two hidden flags, of which one pays: what grid worlds have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lopgym.envs.painting import GOOD, INK, WARM, Image, board
from lopgym.envs.plane import of_copy
from lopgym.envs.variants import MAX_INDEX, variants
from lopgym.envs.world import BatchedWorld, Mask
from lopgym.physics import Physics, Value, param
from lopgym.seeding import generator

_MOVES = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])  # (action, row and column)
_STONE = np.array([85, 87, 83], dtype=np.uint8)


@dataclass(frozen=True, eq=False)
class GridPhysics(Physics):
    """What can drift."""

    goal: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random cells have the two flags")
    walls: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random walls, or doors")
    reward_sign: float = param(1.0, low=-1.0, high=1.0, unit="1", doc="what the first flag pays; the second: minus")
    slip: float = param(0.1, low=0.0, high=1.0, unit="1", doc="probability that a move goes in a random direction")
    sight: int = param(0, low=0, high=1000, unit="cells", doc="how far is seen on each side; 0 without limit")


class BatchedGrid(BatchedWorld):
    """A board with walls and two flags, seen whole or through a window; a subclass draws the walls."""

    physics_type = GridPhysics
    kept = ("_place",)
    board_follows: ClassVar[frozenset[str]] = frozenset({"goal", "walls"})  # parameters that change the board
    goal: Any
    walls: Any
    reward_sign: Any
    slip: Any
    sight: Any

    def __init__(
        self, num_envs: int, render_mode: str | None, *, size: int, window: int, see_goal: bool, world_seed: int
    ) -> None:
        """Draw the first walls and flags of a board with `size` cells a side."""
        self._size, self._window, self._see_goal, self._world_seed = size, window, see_goal, world_seed
        self._place, self._copies = np.zeros((num_envs, 2), dtype=np.int64), np.arange(num_envs)
        side = 2 * window + 1 if window else size
        planes = (not window) + 1 + 2 * see_goal
        observation = gym.spaces.Box(0.0, 1.0, (planes * side**2,), np.float32)
        super().__init__(num_envs, render_mode, observation, gym.spaces.Discrete(len(_MOVES)))
        self._set_up()

    def set_physics(self, **changes: Value) -> None:
        """Change parameters; the board is set up anew only if it is another, because that takes long."""
        super().set_physics(**changes)
        if changes.keys() & self.board_follows:
            self._set_up()

    def _draw_walls(self, walls: int) -> NDArray[np.bool_]:
        """Return where the walls are, shape (size, size); every other cell can be reached from every other."""
        raise NotImplementedError

    def _draw_order(self, goal: int) -> NDArray[np.int64]:
        """Return all cells in a random order: the first that are no walls have the flags."""
        return generator(self._world_seed, "goal", goal).permutation(self._size**2)

    def _draw_outside(self) -> NDArray[np.bool_]:
        """Return which cells are walled off whatever the walls, shape (1 or N, size * size)."""
        return np.zeros((1, self._size**2), dtype=np.bool_)

    def _set_up(self) -> None:
        boards, board_of = variants(self.walls, self._draw_walls)
        orders, order_of = variants(self.goal, self._draw_order)
        outside = self._draw_outside()
        shape = np.broadcast_shapes(board_of.shape, order_of.shape, (len(outside),))
        walls = np.broadcast_to(boards[board_of].reshape(-1, self._size**2) | outside, (*shape, self._size**2))
        order = np.broadcast_to(orders[order_of], walls.shape)
        self._flags = np.take_along_axis(order, _open_first(np.take_along_axis(walls, order, axis=1)), axis=1)[:, :2]
        closed = walls.copy()
        np.put_along_axis(closed, self._flags, True, axis=1)
        self._starts, self._room = _open_first(closed), (~closed).sum(axis=1)
        self._which = self._copies if shape[0] > 1 else np.zeros(self.num_envs, dtype=np.int64)
        self._map = self._draw_map(walls)

    def _draw_map(self, walls: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the planes of walls, first flag, second flag, shape (1 or N, 3, size + 2 window, likewise)."""
        planes = np.zeros((len(walls), 3, self._size**2), dtype=np.float32)
        planes[:, 0] = walls
        np.put_along_axis(planes[:, 1:], self._flags[..., None], 1.0, axis=2)
        rim = ((0, 0), (0, 0), *2 * ((self._window, self._window),))
        padded = np.pad(planes.reshape(-1, 3, self._size, self._size), rim)
        if self._window:
            padded[:, 0, : self._window] = padded[:, 0, -self._window :] = 1.0
            padded[:, 0, :, : self._window] = padded[:, 0, :, -self._window :] = 1.0
        return padded

    def _begin(self, mask: Mask) -> None:
        drawn = self._stream.uniform(self.count) * self._room[self._which]
        start = self._starts[self._which, drawn.astype(np.int64)]
        self._place = np.where(mask[:, None], np.stack(np.divmod(start, self._size), axis=1), self._place)

    def _observe(self) -> NDArray[np.float32]:
        shown = slice(0, 3 if self._see_goal else 1)
        if self._window:
            across = np.arange(2 * self._window + 1)
            rows, columns = (self._place[:, axis, None] + across for axis in range(2))
            seen = self._map[self._which[:, None, None], shown, rows[:, :, None], columns[:, None, :]]
            planes = np.moveaxis(seen, -1, 1)
            return self._in_sight(planes, np.full_like(self._place, self._window)).reshape(self.num_envs, -1)
        walker = np.zeros((self.num_envs, 1, self._size, self._size), dtype=np.float32)
        walker[self._copies, 0, self._place[:, 0], self._place[:, 1]] = 1.0
        planes = np.concatenate((walker, self._map[self._which, shown]), axis=1)
        return self._in_sight(planes, self._place).reshape(self.num_envs, -1)

    def _in_sight(self, planes: NDArray[np.float32], eye: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return planes (N, P, side, side) with 0 where it is too far from the eye, row and column (N, 2)."""
        if not np.any(self.sight):
            return planes
        limit = np.where(np.equal(self.sight, 0), self._size, self.sight).reshape(-1, 1)
        rows, columns = (np.abs(np.arange(planes.shape[-1]) - eye[:, axis, None]) <= limit for axis in range(2))
        return np.asarray(planes * (rows[:, None, :, None] & columns[:, None, None, :]))

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        slips = self._stream.uniform(self.count) < self.slip
        taken = np.where(slips, self.integers(len(_MOVES), draw=1), actions)
        there = np.minimum(np.maximum(self._place + _MOVES[taken], 0), self._size - 1)
        walled = self._map[self._which, 0, there[:, 0] + self._window, there[:, 1] + self._window] > 0
        self._place = np.where(walled[:, None], self._place, there)
        at = (self._place @ (self._size, 1))[:, None] == self._flags
        return self.reward_sign * (at[:, 0] * 1.0 - at[:, 1]), at.any(axis=1)

    def _paint(self, copy: int) -> Image:
        image = board(self._size, self._size)
        inner = slice(self._window, self._window + self._size)
        walls, first, second = self._map[self._which[copy], :, inner, inner] > 0
        turned = of_copy(self.reward_sign, copy) < 0
        image[walls], image[first], image[second] = _STONE, WARM if turned else GOOD, GOOD if turned else WARM
        image[tuple(self._place[copy])] = INK
        return image


def _open_first(closed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the places along the last axis, those that are not closed first, each group in order."""
    return np.argsort(closed, axis=-1, kind="stable")
