"""Pixel Breakout: a ball, a paddle and a wall of bricks on ten by ten pixels, for convolutional networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lopgym.envs import environments
from lopgym.envs.painting import GOOD, INK, LINE, WARM, Image, board
from lopgym.envs.permute_observation import orders
from lopgym.envs.variants import MAX_INDEX, variants
from lopgym.envs.world import BatchedWorld, Mask
from lopgym.physics import Physics, Value, param
from lopgym.seeding import generator

_SIDE, _FIRST, _ROWS = 10, 1, 3  # of the board; first row of the wall; rows of the wall
_SERVE = _FIRST + _ROWS  # the row below the wall
_PADDLE, _BALL, _TRAIL, _BRICKS = range(4)  # channels of the scene, before they are shuffled


@dataclass(frozen=True, eq=False)
class PixelBreakoutPhysics(Physics):
    """What can drift."""

    channel_order: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random order of the channels")
    wall: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random wall, which bricks are there")
    paddle_width: int = param(2, low=0, high=_SIDE, unit="pixels", doc="width of the paddle")
    paddle_speed: int = param(1, low=0, high=_SIDE, unit="pixels/step", doc="how far one push moves the paddle")
    ball_rest: int = param(0, low=0, high=100, unit="steps", doc="how long the ball rests between two moves")


@environments.register(
    "pixel_breakout",
    id="PixelBreakout-v0",
    max_episode_steps=1000,
    drifts={"channel_order": {"kind": "count", "period": 20_000}},
)
class BatchedPixelBreakout(BatchedWorld):
    """Break a wall of bricks with a ball, seen as a small image whose channels change places.

    ## Description
    A ball flies diagonally, one pixel a step, and is thrown back by walls, bricks and the paddle in the last row. A
    paddle that is pushed sends the ball its own way, so the ball can be aimed. When the last brick has gone, the whole
    wall is back. The game is our own; its format, ten by ten pixels with one channel a kind of thing, is that of
    MinAtar (Young and Tian 2019, arXiv:1903.03176).

    ## Action Space
    `Discrete(3)`: 0 left, 1 stay, 2 right.

    ## Observation Space
    `Box(0, 255, (4, 10, 10), uint8)`, channels first: paddle, ball, where the ball was, bricks, in the random order
    number `channel_order`. 255 where there is something, else 0.

    ## Rewards
    1 for a brick, else 0.

    ## Starting State
    The whole wall; the paddle in the middle; the ball just below the wall, in a uniform column, on its way down to the
    left or to the right.

    ## Episode End
    Termination when the ball passes the paddle; truncation after 1000 steps. A paddle that goes where the ball is about
    to be never loses it.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `channel_order` | index | `count`, `period` 20 000 |
    | `wall` | index | none; takes effect when a wall is built |
    | `paddle_width` | pixels | none |
    | `paddle_speed` | pixels/step | none |
    | `ball_rest` | steps | none |

    Orders and walls are functions of `world_seed` and of the number. Wall 0 is full, any other a random half of it.

    ## Arguments
    `world_seed` (0): orders and walls. It cannot change at run time, nor can the size of the image.

    ## Version History
    * v0: first version.
    """

    physics_type = PixelBreakoutPhysics
    kept = ("_ball", "_was", "_way", "_paddle", "_time", "_bricks")
    channel_order: Value
    wall: Value
    paddle_width: Any
    paddle_speed: Any
    ball_rest: Any

    def __init__(self, num_envs: int = 1, render_mode: str | None = None, *, world_seed: int = 0) -> None:
        """Set up N boards."""
        self._world_seed, self._copies = world_seed, np.arange(num_envs)
        self._ball, self._was, self._way = (np.zeros((num_envs, 2), dtype=np.int64) for _ in range(3))
        self._paddle, self._time = (np.zeros(num_envs, dtype=np.int64) for _ in range(2))
        self._bricks = np.zeros((num_envs, _SIDE, _SIDE), dtype=np.bool_)
        observation = gym.spaces.Box(0, 255, (4, _SIDE, _SIDE), np.uint8)
        super().__init__(num_envs, render_mode, observation, gym.spaces.Discrete(3))

    def _write_physics(self) -> None:
        super()._write_physics()
        self._order = orders(self._world_seed, "channel_order", 4, self.channel_order)
        walls, which = variants(self.wall, self._draw_wall)
        self._walls = np.broadcast_to(walls[which], self._bricks.shape)

    def _draw_wall(self, wall: int) -> NDArray[np.bool_]:
        bricks = np.zeros((_SIDE, _SIDE), dtype=np.bool_)
        places = generator(self._world_seed, "wall", wall).permutation(_ROWS * _SIDE)
        missing = len(places) // 2 if wall else 0
        bricks.flat[_FIRST * _SIDE + places[missing:]] = True
        return bricks

    def _begin(self, mask: Mask) -> None:
        column, right = self.integers(_SIDE), self.integers(2, draw=1)
        self._ball[mask] = np.stack([np.full(self.num_envs, _SERVE), column], axis=1)[mask]
        self._way[mask] = np.stack([np.ones(self.num_envs, dtype=np.int64), 2 * right - 1], axis=1)[mask]
        self._was[mask] = self._ball[mask]
        self._paddle[mask] = np.broadcast_to((_SIDE - self.paddle_width) // 2, self.num_envs)[mask]
        self._bricks[mask] = self._walls[mask]
        self._time[mask] = 0

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        push = actions - 1
        self._paddle = np.minimum(np.maximum(self._paddle + push * self.paddle_speed, 0), _SIDE - self.paddle_width)
        self._time += 1
        flies = self._time % (self.ball_rest + 1) == 0
        self._turn_at_the_edges(flies)
        ahead = np.minimum(self._ball + self._way, _SIDE - 1)  # a ball that has been lost stays where it is
        hits = flies & self._bricks[self._copies, ahead[:, 0], ahead[:, 1]]
        arrives = flies & (ahead[:, 0] == _SIDE - 1)
        saved = arrives & (ahead[:, 1] >= self._paddle) & (ahead[:, 1] < self._paddle + self.paddle_width)
        thrown = hits | saved
        self._bricks[self._copies[hits], ahead[hits, 0], ahead[hits, 1]] = False
        self._was = np.where(flies[:, None], self._ball, self._was)
        ahead[thrown, 0] = self._ball[thrown, 0]
        self._ball = np.where(flies[:, None], ahead, self._ball)
        self._way[thrown, 0] *= -1
        self._way[:, 1] = np.where(saved & (push != 0), push, self._way[:, 1])
        self._rebuild()
        return hits.astype(np.float64), arrives & ~saved

    def _turn_at_the_edges(self, flies: Mask) -> None:
        """Turn balls that would leave the board at a side or at the top."""
        ahead = self._ball + self._way
        outside = np.stack([ahead[:, 0] < 0, (ahead[:, 1] < 0) | (ahead[:, 1] >= _SIDE)], axis=1)
        self._way = np.where(outside & flies[:, None], -self._way, self._way)

    def _rebuild(self) -> None:
        broken = np.logical_not(self._bricks.any(axis=(1, 2)))
        self._bricks[broken] = self._walls[broken]

    def _scene(self) -> NDArray[np.bool_]:
        """Return what is where, channels in their natural order, shape (N, 4, 10, 10)."""
        scene = np.zeros((self.num_envs, 4, _SIDE, _SIDE), dtype=np.bool_)
        column, left = np.arange(_SIDE), np.minimum(self._paddle, _SIDE - self.paddle_width)[:, None]
        width = np.broadcast_to(self.paddle_width, self.num_envs)[:, None]
        scene[:, _PADDLE, -1] = (column >= left) & (column < left + width)
        scene[self._copies, _TRAIL, self._was[:, 0], self._was[:, 1]] = True
        scene[self._copies, _BALL, self._ball[:, 0], self._ball[:, 1]] = True
        scene[:, _BRICKS] = self._bricks
        return scene

    def _observe(self) -> NDArray[np.uint8]:
        image = self._scene().astype(np.uint8) * np.uint8(255)
        return image[:, self._order] if self._order.ndim == 1 else image[self._copies[:, None], self._order]

    def _paint(self, copy: int) -> Image:
        image, scene = board(_SIDE, _SIDE), self._scene()[copy]
        for channel, colour in ((_BRICKS, GOOD), (_TRAIL, LINE // 2 + WARM // 2), (_BALL, WARM), (_PADDLE, INK)):
            image[scene[channel]] = colour
        return image
