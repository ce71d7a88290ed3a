"""Puddle world: walk to a corner, round the puddles, until corner and puddles move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lopgym.envs import environments
from lopgym.envs.gaussian import gaussian
from lopgym.envs.painting import GOOD, INK, LINE, Image
from lopgym.envs.plane import Canvas, of_copy, points
from lopgym.envs.world import BatchedWorld, Mask
from lopgym.physics import Physics, param

_MOVES = np.array([[0.0, 0.0, 1.0, -1.0], [1.0, -1.0, 0.0, 0.0]])  # (x and y, action)
_PUDDLES = (((0.10, 0.75), (0.45, 0.75)), ((0.45, 0.40), (0.45, 0.80)))  # both ends of each middle line
_GOAL_RADIUS = 0.1
_WATER = np.array([147, 181, 222], dtype=np.uint8)


@dataclass(frozen=True, eq=False)
class PuddlePhysics(Physics):
    """What can drift; lengths are in sides of the square."""

    goal_x: float = param(1.0, low=0.0, high=1.0, unit="1", doc="place of the goal, to the right")
    goal_y: float = param(1.0, low=0.0, high=1.0, unit="1", doc="place of the goal, upwards")
    puddle_x: float = param(0.0, low=-1.0, high=1.0, unit="1", doc="shift of both puddles to the right")
    puddle_y: float = param(0.0, low=-1.0, high=1.0, unit="1", doc="shift of both puddles upwards")
    puddle_radius: float = param(0.1, low=0.0, high=0.5, unit="1", doc="half the width of a puddle")
    puddle_cost: float = param(400.0, low=0.0, high=4000.0, unit="1", doc="price of a unit of depth")
    thrust: float = param(0.05, low=0.0, high=0.5, unit="1", doc="length of a move")
    noise: float = param(0.01, low=0.0, high=0.5, unit="1", doc="standard deviation of a move along an axis")


@environments.register(
    "puddle_world",
    id="PuddleWorld-v0",
    max_episode_steps=500,
    drifts={
        "goal_x": {"kind": "cycle", "values": [1.0, 0.0, 0.0, 1.0], "period": 20_000},
        "goal_y": {"kind": "cycle", "values": [1.0, 1.0, 0.0, 0.0], "period": 20_000},
    },
)
class BatchedPuddleWorld(BatchedWorld):
    """Walk to a corner of a square and round two costly puddles; goal and puddles move.

    ## Description
    The puddle world of Sutton 1996 ("Generalization in reinforcement learning: successful examples using sparse coarse
    coding", NIPS 8, appendix A): two puddles are the points nearer than `puddle_radius` to the lines (0.1, 0.75) to
    (0.45, 0.75) and (0.45, 0.4) to (0.45, 0.8). Undrifted it is his, goal region x + y >= 1.9 included. Neither goal
    nor puddles can be seen.

    ## Action Space
    `Discrete(4)`: `thrust` up, down, right, left; normal noise is added along both axes. The edges stop the walker.

    ## Observation Space
    `Box(0, 1, (2,), float32)`: x and y.

    ## Rewards
    -1 a step, and -`puddle_cost` times the depth at which it ends: `puddle_radius` minus the distance to the nearest
    middle line, where that is positive. The two puddles are one where they overlap.

    ## Starting State
    A place in the square, uniform (the goal region and the puddles too).

    ## Episode End
    Termination when |x - `goal_x`| + |y - `goal_y`| <= 0.1 after a step; truncation after 500 steps.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `goal_x`, `goal_y` | 1 | `cycle` through the corners (1, 1), (0, 1), (0, 0), (1, 0), `period` 20 000 |
    | `puddle_x`, `puddle_y` | 1 | none; what is pushed out of the square is out of play |
    | `puddle_radius` | 1 | none |
    | `puddle_cost` | 1 | none |
    | `thrust` | 1 | none |
    | `noise` | 1 | none |

    ## Arguments
    None of its own: the square, the lines of the puddles and the size of the goal region cannot change.

    ## Version History
    * v0: first version.
    """

    metadata = BatchedWorld.metadata | {"render_fps": 15}
    physics_type = PuddlePhysics
    kept = ("_place",)
    goal_x: Any
    goal_y: Any
    puddle_x: Any
    puddle_y: Any
    puddle_radius: Any
    puddle_cost: Any
    thrust: Any
    noise: Any

    def __init__(self, num_envs: int = 1, render_mode: str | None = None) -> None:
        """Set up N squares."""
        observation = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
        super().__init__(num_envs, render_mode, observation, gym.spaces.Discrete(_MOVES.shape[1]))
        self._place = np.zeros((2, num_envs))

    def _write_physics(self) -> None:
        super()._write_physics()
        self._goal, self._shift = points(self.goal_x, self.goal_y), points(self.puddle_x, self.puddle_y)

    def _begin(self, mask: Mask) -> None:
        start = np.stack([self._stream.uniform(self.count, draw) for draw in range(2)])
        self._place = np.where(mask, start, self._place)

    def _observe(self) -> NDArray[np.float32]:
        return self._place.T.astype(np.float32)

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        move = self.thrust * _MOVES[:, actions] + self.noise * gaussian(self._stream, self.count)
        self._place = np.clip(self._place + move, 0.0, 1.0)
        depth = np.maximum(self.puddle_radius - _to_the_lines(*(self._place - self._shift)), 0.0)
        away = np.abs(self._place - self._goal).sum(axis=0)
        return -1.0 - self.puddle_cost * depth, away <= _GOAL_RADIUS

    def _paint(self, copy: int) -> Image:
        canvas = Canvas(0.0, 1.0)
        goal, shift = of_copy(self._goal, copy), of_copy(self._shift, copy)
        wet = _to_the_lines(canvas.x - shift[0], canvas.y - shift[1]) < of_copy(self.puddle_radius, copy)
        canvas.fill(np.abs(canvas.x - goal[0]) + np.abs(canvas.y - goal[1]) <= _GOAL_RADIUS, GOOD)
        canvas.fill(wet, _WATER if of_copy(self.puddle_cost, copy) else LINE)
        canvas.disc(self._place[:, copy], 0.03, INK)
        return canvas.image


def _to_the_lines(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of points to the nearer of the two middle lines, in the shape of `x` and `y` together."""
    far: list[NDArray[np.float64]] = []
    for (left, low), (right, high) in _PUDDLES:  # along the axes, so the nearest point is a clipped one
        far.append(np.hypot(x - np.clip(x, left, right), y - np.clip(y, low, high)))
    return np.minimum(*far)
