"""MountainCar whose gravity, engine, track, goal and start drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.mountain_car import MountainCarEnv
from numpy.typing import NDArray

from lopgym.envs import environments
from lopgym.envs.classic import BatchedClassic, Classic
from lopgym.envs.world import METADATA, Mask
from lopgym.physics import Physics, param


@dataclass(frozen=True, eq=False)
class TrackPhysics(Physics):
    """What can drift in both cars. Track and speed can only shrink: the observation space is Gymnasium's."""

    gravity: float = param(0.0025, low=0.0005, high=0.01, unit="1/step^2", doc="pull towards the bottom of the valley")
    max_speed: float = param(0.07, low=0.005, high=0.07, unit="1/step", doc="greatest speed")
    min_position: float = param(-1.2, low=-1.2, high=-0.5, unit="1", doc="left end of the track")
    max_position: float = param(0.6, low=-0.5, high=0.6, unit="1", doc="right end of the track")
    start_position: float = param(-0.5, low=-1.0, high=0.2, unit="1", doc="middle of the start")
    start_range: float = param(0.1, low=0.0, high=0.2, unit="1", doc="half-width of the start")

    @property
    def start_low(self) -> float:
        """Leftmost start."""
        return self.start_position - self.start_range

    @property
    def start_high(self) -> float:
        """Rightmost start."""
        return self.start_position + self.start_range


@dataclass(frozen=True, eq=False)
class MountainCarPhysics(TrackPhysics):
    """What can drift in the car with three actions."""

    force: float = param(0.001, low=0.0001, high=0.01, unit="1/step^2", doc="push of the engine")
    goal_position: float = param(0.5, low=-0.5, high=0.6, unit="1", doc="where the goal begins")


class MountainCar(Classic, MountainCarEnv):
    """Gymnasium's MountainCar, with parameters that can change."""

    physics_type = MountainCarPhysics


class BatchedCar(BatchedClassic):
    """N cars in a valley: what the cars with three actions and with a continuous one have in common."""

    state_size, start_size = 2, 1
    gravity: Any
    max_speed: Any
    min_position: Any
    max_position: Any
    goal_position: Any

    def __init__(self, num_envs: int = 1, render_mode: str | None = None, *, goal_velocity: float = 0.0) -> None:
        """Set up N cars."""
        super().__init__(num_envs, render_mode, goal_velocity=goal_velocity)
        self.goal_velocity = goal_velocity

    def _draw(self, generator: np.random.Generator, first: float, second: float) -> Any:
        return np.pad(super()._draw(generator, first, second), ((0, 0), (0, 1)))  # with a velocity of 0


@environments.register(
    "mountain_car",
    id="MountainCar-v0",
    single=MountainCar,
    max_episode_steps=200,
    drifts={"force": {"kind": "cycle", "values": [0.001, 0.0015], "period": 50_000}},
)
class BatchedMountainCar(BatchedCar):
    """Rock a weak car out of a valley whose physics changes; Gymnasium's MountainCar-v0 when nothing drifts.

    ## Description
    The car of Moore 1990 as Gymnasium has it, step for step and bit for bit, single and batched. Its engine is too weak
    to climb the right hill at once, so it has to swing. Every physical quantity can drift.

    ## Action Space
    `Discrete(3)`: push to the left (0), not at all (1), to the right (2).

    ## Observation Space
    `Box(2,)`, float32: position and velocity; the bounds are Gymnasium's.

    ## Rewards
    -1 at every step, the last included.

    ## Starting State
    Velocity 0 at a position uniform within `start_range` of `start_position`;
    `reset(options={"low": a, "high": b})` draws it from elsewhere.

    ## Episode End
    Termination at a position of at least `goal_position` and a velocity of at least `goal_velocity`; truncation after
    200 steps. A goal beyond `max_position` cannot be reached.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `gravity` | 1/step^2 | none |
    | `force` | 1/step^2 | `cycle`, `values` 0.001 and 0.0015, `period` 50 000 |
    | `max_speed` | 1/step | none; at most 0.07 |
    | `min_position`, `max_position` | 1 | none; within -1.2 and 0.6 |
    | `goal_position` | 1 | none |
    | `start_position`, `start_range` | 1 | none |

    ## Arguments
    `goal_velocity` (0): least velocity at the goal.

    ## Version History
    * v0: first version.
    """

    metadata = METADATA | {"render_fps": 30}
    physics_type = MountainCarPhysics
    single_type = MountainCar
    force: Any

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        """Take a step in Gymnasium's order of operations."""
        position, velocity = self._state
        velocity = velocity + ((np.asarray(actions) - 1) * self.force + np.cos(3 * position) * -self.gravity)
        velocity = np.minimum(np.maximum(velocity, -self.max_speed), self.max_speed)
        position = np.minimum(np.maximum(position + velocity, self.min_position), self.max_position)
        velocity = np.where((position == self.min_position) & (velocity < 0), 0.0, velocity)
        self._state = np.stack((position, velocity))
        arrived = (position >= self.goal_position) & (velocity >= self.goal_velocity)
        return np.full(self.num_envs, -1.0), arrived
