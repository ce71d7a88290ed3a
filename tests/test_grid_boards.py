"""What drifts of a board beside its walls: how far one sees, and how large it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lopgym.envs.grid_world import BatchedGridWorld
from lopgym.envs.nine_rooms import BatchedNineRooms

DOWN, RIGHT = 0, 2


def _planes(world: Any) -> Any:
    """What each copy sees, shape (N, planes, side, side)."""
    seen = world._observe()
    side = world._size if not world._window else 2 * world._window + 1
    return seen.reshape(len(seen), -1, side, side)


@pytest.mark.parametrize("make", [BatchedGridWorld, BatchedNineRooms])
@pytest.mark.parametrize("window", [0, 3])
def test_what_is_out_of_sight_reads_0(make: Any, window: int) -> None:
    """By a second implementation in loops, for copies that see differently far; without a limit nothing changes."""
    world = make(5, window=window, see_goal=True)
    world.reset(seed=1)
    whole = _planes(world)
    limits = [0, 1, 2, 5, 1000]
    world.set_physics(sight=np.array(limits))
    seen = _planes(world)
    for copy, limit in enumerate(limits):
        eye = (window, window) if window else world._place[copy]
        for row, column in np.ndindex(seen.shape[2:]):
            far = limit > 0 and max(abs(row - eye[0]), abs(column - eye[1])) > limit
            assert seen[copy, :, row, column].tolist() == (whole[copy, :, row, column] * (not far)).tolist()
    assert 0 < seen[1].sum() < whole[1].sum()
    assert seen.dtype == whole.dtype


@pytest.mark.parametrize(("shrinkage", "side"), [(0, 8), (2, 6), (5, 3), (8, 3), (1000, 3)])
def test_a_smaller_board_is_a_corner_of_the_whole_one(shrinkage: int, side: int) -> None:
    """Inside, the same pillars; outside, walls; flags and starts inside, and every open cell can be reached."""
    world = BatchedGridWorld(400)
    pillars = world._draw_walls(0)
    world.set_physics(shrinkage=shrinkage)
    world.reset(seed=0)
    board = world._map[0, 0] > 0
    assert (board[:side, :side] == pillars[:side, :side]).all()
    assert board[side:].all()
    assert board[:, side:].all()
    assert (world._flags // 8 < side).all()
    assert (world._flags % 8 < side).all()
    assert (world._place < side).all()
    reached = {tuple(world._place[0])}
    while more := {(r + a, c + b) for r, c in reached for a, b in ((0, 1), (0, -1), (1, 0), (-1, 0))} - reached:
        if not (more := {cell for cell in more if min(cell) >= 0 and max(cell) < 8 and not board[cell]}):
            break
        reached |= more
    assert len(reached) == (~board).sum()


def test_copies_have_boards_of_their_own_size() -> None:
    """Each is what it is alone; the edge of a smaller board stops its walker."""
    batch = BatchedGridWorld(3, pillars=0.0)
    sizes = np.array([0, 4, 2])
    batch.set_physics(shrinkage=sizes, slip=0.0)
    batch.reset(seed=5)
    for copy, shrinkage in enumerate(sizes):
        alone = BatchedGridWorld(1, pillars=0.0)
        alone.set_physics(shrinkage=int(shrinkage), slip=0.0)
        seen, _ = alone.reset(seed=5 + copy)
        assert (batch._observe()[copy] == seen[0]).all()
    batch._place[:] = 0
    for action in [DOWN] * 9 + [RIGHT] * 9:
        batch.step(np.full(3, action))
    assert batch._place.tolist() == [[7, 7], [3, 3], [5, 5]]
