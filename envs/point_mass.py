"""Point mass: push a puck to a place that is not shown, on a table that changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lopgym.envs import environments
from lopgym.envs.gaussian import gaussian
from lopgym.envs.painting import GOOD, INK, Image
from lopgym.envs.plane import Canvas, of_copy, points
from lopgym.envs.world import BatchedWorld, Mask
from lopgym.physics import Physics, param

_STEP = 0.1  # s


@dataclass(frozen=True, eq=False)
class PointMassPhysics(Physics):
    """What can drift."""

    goal_x: float = param(0.5, low=-1.0, high=1.0, unit="m", doc="place of the goal, to the right")
    goal_y: float = param(0.5, low=-1.0, high=1.0, unit="m", doc="place of the goal, upwards")
    mass: float = param(1.0, low=0.1, high=10.0, unit="kg", doc="mass of the puck")
    thrust: float = param(1.0, low=0.0, high=10.0, unit="N", doc="force of a full action along an axis")
    friction: float = param(0.5, low=0.0, high=10.0, unit="kg/s", doc="drag per speed")
    noise: float = param(0.05, low=0.0, high=5.0, unit="N", doc="standard deviation of the gusts along an axis")


@environments.register(
    "point_mass",
    id="PointMass-v0",
    max_episode_steps=100,
    drifts={
        "goal_x": {"kind": "cycle", "values": [0.5, -0.5, -0.5, 0.5], "period": 20_000},
        "goal_y": {"kind": "cycle", "values": [0.5, 0.5, -0.5, -0.5], "period": 20_000},
    },
)
class BatchedPointMass(BatchedWorld):
    """Push a puck over a table to a place that is not shown, and stay there, with two continuous forces.

    ## Description
    A mass m on the table [-1, 1]^2 is pushed by a force F in the plane, braked by a drag c in proportion to its speed
    and shaken by gusts. A step of h = 0.1 s is Euler's semi-implicit rule, with the drag taken at the new speed, which
    is stable however light the puck: v' = (v + h (F + noise) / m) / (1 + h c / m), x' = x + h v'. Along an axis, the
    edge of the table stops the puck. The goal can only be found by the reward, so when it moves, the old
    policy goes to the wrong place.

    ## Action Space
    `Box(-1, 1, (2,), float32)`: the force along x and y, in units of `thrust`; what is outside is clipped.

    ## Observation Space
    `Box(4,)`, float32: x and y (m), in [-1, 1], and the velocity along both (m/s), unbounded.

    ## Rewards
    Minus the distance to the goal after the step, in m.

    ## Starting State
    A place on the table, uniform, at rest.

    ## Episode End
    Truncation after 100 steps; there is no termination.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `goal_x`, `goal_y` | m | `cycle` through (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5), `period` 20 000 |
    | `mass` | kg | none |
    | `thrust` | N | none |
    | `friction` | kg/s | none |
    | `noise` | N | none |

    ## Arguments
    None of its own: the size of the table and the time of a step cannot change.

    ## Version History
    * v0: first version.
    """

    metadata = BatchedWorld.metadata | {"render_fps": 10}
    physics_type = PointMassPhysics
    kept = ("_place", "_velocity")
    goal_x: Any
    goal_y: Any
    mass: Any
    thrust: Any
    friction: Any
    noise: Any

    def __init__(self, num_envs: int = 1, render_mode: str | None = None) -> None:
        """Set up N tables."""
        edge = np.array([1.0, 1.0, np.inf, np.inf], dtype=np.float32)
        observation = gym.spaces.Box(-edge, edge, dtype=np.float32)
        super().__init__(num_envs, render_mode, observation, gym.spaces.Box(-1.0, 1.0, (2,), np.float32))
        self._place, self._velocity = np.zeros((2, num_envs)), np.zeros((2, num_envs))

    def _write_physics(self) -> None:
        super()._write_physics()
        self._goal = points(self.goal_x, self.goal_y)

    def _begin(self, mask: Mask) -> None:
        start = np.stack([self._stream.uniform(self.count, draw) for draw in range(2)])
        self._place = np.where(mask, 2.0 * start - 1.0, self._place)
        self._velocity = np.where(mask, 0.0, self._velocity)

    def _observe(self) -> NDArray[np.float32]:
        return np.concatenate((self._place, self._velocity)).T.astype(np.float32)

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        push = self.thrust * np.clip(np.asarray(actions, dtype=np.float64), -1.0, 1.0).T
        force = push + self.noise * gaussian(self._stream, self.count)
        velocity = (self._velocity + _STEP * force / self.mass) / (1.0 + _STEP * self.friction / self.mass)
        place = self._place + _STEP * velocity
        self._place = np.clip(place, -1.0, 1.0)
        self._velocity = np.where(self._place == place, velocity, 0.0)
        return -np.hypot(*(self._place - self._goal)), np.zeros(self.num_envs, dtype=np.bool_)

    def _paint(self, copy: int) -> Image:
        canvas = Canvas(-1.1, 1.1)
        canvas.disc(of_copy(self._goal, copy), 0.12, GOOD)
        canvas.disc(self._place[:, copy], 0.07, INK)
        return canvas.image
