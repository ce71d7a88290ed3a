"""MountainCar whose gravity and its direction, engine, track, goal and start drift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.classic_control.mountain_car import MountainCarEnv
from numpy.typing import NDArray

from lopgym.envs import environments
from lopgym.envs.classic import BatchedClassic, Classic
from lopgym.envs.tilt import TiltedGravity
from lopgym.envs.world import METADATA, Mask
from lopgym.physics import Physics, param


@dataclass(frozen=True, eq=False)
class TrackPhysics(TiltedGravity, Physics):
    """What can drift in both cars. Track and speed can only shrink: the observation space is Gymnasium's."""

    gravity: float = param(0.0025, low=0.0005, high=0.01, unit="1/step^2", doc="pull towards the bottom of the valley")
    gravity_angle: float = param(
        0.0, low=-math.pi, high=math.pi, unit="rad", doc="direction of gravity, 0 down, positive to the right"
    )
    max_speed: float = param(0.07, low=0.005, high=0.07, unit="1/step", doc="greatest speed")
    min_position: float = param(-1.2, low=-1.2, high=-0.5, unit="1", doc="left end of the track")
    max_position: float = param(0.6, low=-0.5, high=0.6, unit="1", doc="right end of the track")
    goal_velocity: float = param(0.0, low=0.0, high=0.07, unit="1/step", doc="least speed at the goal")
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
    other_names: ClassVar[dict[str, str]] = {"gravity": "gravity_down"}  # Gymnasium's step knows of no other
    gravity_angle: float

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step: Gymnasium's own unless gravity is tilted."""
        if not self.gravity_angle:
            return super().step(action)  # type: ignore[no-any-return]
        (position, velocity), arrived = driven(self, np.asarray(self.state), np.asarray(action))
        self.state = position, velocity
        if self.render_mode == "human":
            self.render()  # type: ignore[no-untyped-call]
        return np.array(self.state, dtype=np.float32), -1.0, bool(arrived), False, {}


class BatchedCar(BatchedClassic):
    """N cars in a valley: what the cars with three actions and with a continuous one have in common."""

    state_size, start_size = 2, 1

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

    Gravity points `gravity_angle` away from down, towards the right if positive: with the angle a, what pulls along the
    track is -g cos(a) cos(3 x) + g sin(a).

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
    | `gravity_angle` | rad | none |
    | `force` | 1/step^2 | `cycle`, `values` 0.001 and 0.0015, `period` 50 000 |
    | `max_speed` | 1/step | none; at most 0.07 |
    | `min_position`, `max_position` | 1 | none; within -1.2 and 0.6 |
    | `goal_position` | 1 | none |
    | `goal_velocity` | 1/step | none |
    | `start_position`, `start_range` | 1 | none |

    ## Arguments
    None of its own: Gymnasium's `goal_velocity` is a parameter, `drifts={"goal_velocity": 0.01}`.

    ## Version History
    * v0: first version.
    """

    metadata = METADATA | {"render_fps": 30}
    physics_type = MountainCarPhysics
    single_type = MountainCar

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        self._state, arrived = driven(self, self._state, np.asarray(actions))
        return np.full(self.num_envs, -1.0), arrived


def driven(of: Any, state: NDArray[np.float64], action: NDArray[Any]) -> tuple[NDArray[np.float64], Any]:
    """Return position and velocity after one step in Gymnasium's order of operations, and whether that is at the goal.

    Args:
        of: what has the parameters as attributes, numbers or shape (N,).
        state: position and velocity before, shape (2,) or (2, N).
        action: 0, 1 or 2, a number or shape (N,).
    """
    position, velocity = state
    # Gravity that is not tilted adds a zero here, which leaves the bits as they are.
    pull = np.cos(3 * position) * -of.gravity_down + of.gravity_right
    velocity = velocity + ((action - 1) * of.force + pull)
    velocity = np.minimum(np.maximum(velocity, -of.max_speed), of.max_speed)
    position = np.minimum(np.maximum(position + velocity, of.min_position), of.max_position)
    velocity = np.where((position == of.min_position) & (velocity < 0), 0.0, velocity)
    return np.array((position, velocity)), (position >= of.goal_position) & (velocity >= of.goal_velocity)
