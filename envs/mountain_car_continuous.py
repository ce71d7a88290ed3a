"""MountainCarContinuous whose gravity and its direction, engine, track, goal and start drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.continuous_mountain_car import Continuous_MountainCarEnv
from numpy.typing import NDArray

from lopgym.envs import environments
from lopgym.envs.classic import Classic
from lopgym.envs.mountain_car import BatchedCar, TrackPhysics
from lopgym.envs.world import METADATA, Mask
from lopgym.physics import param

_GRAVITY = 0.0025  # that of Gymnasium's step, which knows no other


@dataclass(frozen=True, eq=False)
class MountainCarContinuousPhysics(TrackPhysics):
    """What can drift in the car with a continuous action."""

    power: float = param(0.0015, low=0.0001, high=0.01, unit="1/step^2", doc="push of the engine at full throttle")
    goal_position: float = param(0.45, low=-0.5, high=0.6, unit="1", doc="where the goal begins")


class MountainCarContinuous(Classic, Continuous_MountainCarEnv):
    """Gymnasium's MountainCarContinuous, with parameters that can change."""

    physics_type = MountainCarContinuousPhysics
    gravity_down: float
    gravity_right: float

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step: Gymnasium's own unless gravity is another."""
        if self.gravity_down == _GRAVITY and not self.gravity_right:
            return super().step(action)  # type: ignore[no-any-return]
        throttle = np.float32(action[0])
        position, velocity, arrived = driven(self, np.asarray(self.state), throttle)
        self.state = np.array([position, velocity], dtype=np.float32)
        if self.render_mode == "human":
            self.render()  # type: ignore[no-untyped-call]
        return self.state, float(_reward(arrived, throttle)), bool(arrived), False, {}


@environments.register(
    "mountain_car_continuous",
    id="MountainCarContinuous-v0",
    single=MountainCarContinuous,
    max_episode_steps=999,
    drifts={"power": {"kind": "cycle", "values": [0.0015, 0.0025], "period": 50_000}},
)
class BatchedMountainCarContinuous(BatchedCar):
    """Drive a weak car out of a valley whose physics changes; Gymnasium's MountainCarContinuous-v0 without drift.

    ## Description
    MountainCar with a throttle in place of three actions, as Gymnasium has it, step for step and bit for bit, single
    and batched: the first step of an episode is in double precision, the others are in single precision. Every physical
    quantity can drift, the direction of gravity as in MountainCar.

    ## Action Space
    `Box(-1, 1, (1,), float32)`: the throttle, negative to the left. What is beyond is cut off, but costs in full.

    ## Observation Space
    `Box(2,)`, float32: position and velocity; the bounds are Gymnasium's.

    ## Rewards
    Minus a tenth of the square of the action; 100 more on arrival.

    ## Starting State
    Velocity 0 at a position uniform within `start_range` of `start_position`;
    `reset(options={"low": a, "high": b})` draws it from elsewhere.

    ## Episode End
    Termination at a position of at least `goal_position` and a velocity of at least `goal_velocity`; truncation after
    999 steps. A goal beyond `max_position` cannot be reached.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `gravity` | 1/step^2 | none |
    | `gravity_angle` | rad | none |
    | `power` | 1/step^2 | `cycle`, `values` 0.0015 and 0.0025, `period` 50 000 |
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
    physics_type = MountainCarContinuousPhysics
    single_type = MountainCarContinuous

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        throttle = self._forces(actions)
        position, velocity, arrived = driven(self, self._state.astype(np.float32), throttle)
        if self._fresh.any():
            first = driven(self, self._state, throttle)
            position, velocity, arrived = np.where(self._fresh, first, (position, velocity, arrived))
        self._state = np.stack((position, velocity)).astype(np.float32).astype(np.float64)
        self._fresh[:] = False
        return _reward(arrived, throttle), arrived.astype(np.bool_)


def driven(of: Any, state: NDArray[Any], throttle: Any) -> tuple[Any, Any, Any]:
    """Return position and velocity after one step, and whether that is at the goal, in the precision of `state`.

    Args:
        of: what has the parameters as attributes, numbers or shape (N,).
        state: position and velocity before, float32 or float64, shape (2,) or (2, N).
        throttle: the action, float32, a number or shape (N,).
    """
    position, velocity = state
    push = np.minimum(np.maximum(throttle, np.float32(-1)), np.float32(1))
    pull = of.gravity_down * np.cos(np.asarray(3 * position, dtype=np.float64)) - of.gravity_right
    change = push * _like(push, of.power) - _like(push, pull)
    # Gymnasium cuts an action off to a number of Python's, which is double: then only the difference is rounded.
    change = np.where(push == throttle, change, np.asarray(push, dtype=np.float64) * of.power - pull)
    fastest, wall = _like(position, of.max_speed), _like(position, of.min_position)
    velocity = np.minimum(np.maximum(velocity + _like(position, change), -fastest), fastest)
    position = np.minimum(np.maximum(position + velocity, wall), _like(position, of.max_position))
    velocity = np.where((position == wall) & (velocity < 0), _like(position, 0.0), velocity)
    return position, velocity, (position >= _like(position, of.goal_position)) & (velocity >= of.goal_velocity)


def _like(number: Any, value: Any) -> Any:
    """Return `value` in the precision of `number`."""
    return np.asarray(value, dtype=number.dtype)


def _reward(arrived: Any, throttle: Any) -> Any:
    return np.where(arrived, 100.0, 0.0) - np.square(np.asarray(throttle, dtype=np.float64)) * 0.1
