"""Pendulum whose gravity and its direction, mass, length, motor, time step and start drift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.classic_control.pendulum import PendulumEnv, angle_normalize
from numpy.typing import NDArray

from lopgym.envs import environments
from lopgym.envs.classic import BatchedClassic, Classic
from lopgym.envs.world import METADATA, Mask
from lopgym.physics import Physics, param


@dataclass(frozen=True, eq=False)
class PendulumPhysics(Physics):
    """What can drift. Torque and speed can only shrink: the spaces were made for Gymnasium's."""

    gravity: float = param(10.0, low=0.1, high=50.0, unit="m/s^2", doc="pull on the rod")
    gravity_angle: float = param(
        0.0, low=-math.pi, high=math.pi, unit="rad", doc="direction of gravity, 0 down, positive to the right"
    )
    mass: float = param(1.0, low=0.1, high=10.0, unit="kg", doc="mass of the rod")
    length: float = param(1.0, low=0.2, high=5.0, unit="m", doc="length of the rod")
    max_torque: float = param(2.0, low=0.05, high=2.0, unit="N m", doc="greatest torque of the motor")
    max_speed: float = param(8.0, low=0.1, high=8.0, unit="rad/s", doc="greatest angular velocity")
    dt: float = param(0.05, low=0.005, high=0.1, unit="s", doc="time between two steps")
    start_angle: float = param(math.pi, low=0.0, high=math.pi, unit="rad", doc="half-width of the angle at the start")
    start_speed: float = param(1.0, low=0.0, high=8.0, unit="rad/s", doc="half-width of the velocity at the start")

    @property
    def acceleration(self) -> float:
        """Angular acceleration by gravity when the rod is level, rad/s^2."""
        return 3 * self.gravity / (2 * self.length)

    @property
    def response(self) -> float:
        """Angular acceleration by a torque of 1 N m, 1/(kg m^2); rounded as Python rounds a power."""
        squared: float = np.float_power(self.length, 2)
        return 3.0 / (self.mass * squared)


class Pendulum(Classic, PendulumEnv):
    """Gymnasium's Pendulum, with parameters that can change."""

    physics_type = PendulumPhysics
    start_options: ClassVar[dict[str, str]] = {"x_init": "start_angle", "y_init": "start_speed"}
    other_names: ClassVar[dict[str, str]] = {"g": "gravity", "m": "mass", "l": "length"}
    gravity: float
    gravity_angle: float
    mass: float
    length: float

    def step(self, u: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step: Gymnasium's own unless gravity is tilted."""
        if not self.gravity_angle:
            return super().step(u)  # type: ignore[no-untyped-call, no-any-return]
        torque = limited(self, np.asarray(u))[0]
        self.last_u = torque
        cost, state = swung(self, np.asarray(self.state), torque, torque**2)
        self.state = state
        if self.render_mode == "human":
            self.render()  # type: ignore[no-untyped-call]
        return self._get_obs(), -cost, False, False, {}  # type: ignore[no-untyped-call]


@environments.register(
    "pendulum",
    id="Pendulum-v0",
    single=Pendulum,
    max_episode_steps=200,
    drifts={"mass": {"kind": "cycle", "values": [1.0, 0.5], "period": 50_000}},
)
class BatchedPendulum(BatchedClassic):
    """Swing a rod up and hold it there while its physics changes; Gymnasium's Pendulum-v1 when nothing drifts.

    ## Description
    The inverted pendulum as Gymnasium has it, step for step and bit for bit, single and batched. Every physical
    quantity can drift.

    Gravity points `gravity_angle` away from down, towards the right of the picture if positive: with the angle a, the
    sine of the angle from upright becomes sin(theta - a), theta'' = 3 g sin(theta - a) / (2 l) + 3 u / (m l^2). Upright
    is still what the reward asks for.

    ## Action Space
    `Box(-2, 2, (1,), float32)`: the torque u (N m), cut off at `max_torque`.

    ## Observation Space
    `Box(3,)`, float32: cosine and sine of the angle from upright, and the angular velocity (rad/s).

    ## Rewards
    Minus the squared angle from upright, in [-pi, pi), 0.1 of the squared angular velocity and 0.001 of the squared
    torque, all before the step.

    ## Starting State
    Angle and velocity uniform within `start_angle` and `start_speed` of 0;
    `reset(options={"x_init": a, "y_init": b})` sets other half-widths.

    ## Episode End
    Truncation after 200 steps.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `gravity` | m/s^2 | none |
    | `gravity_angle` | rad | none |
    | `mass` | kg | `cycle`, `values` 1.0 and 0.5, `period` 50 000 |
    | `length` | m | none |
    | `max_torque` | N m | none; at most 2 |
    | `max_speed` | rad/s | none; at most 8 |
    | `dt` | s | none |
    | `start_angle` | rad | none |
    | `start_speed` | rad/s | none |

    ## Arguments
    None of its own.

    ## Version History
    * v0: first version.
    """

    metadata = METADATA | {"render_fps": 30}
    physics_type = PendulumPhysics
    single_type = Pendulum
    state_size = start_size = 2
    kept = ("_torque",)

    def __init__(self, num_envs: int = 1, render_mode: str | None = None) -> None:
        """Set up N rods."""
        super().__init__(num_envs, render_mode)
        self._torque = np.zeros(num_envs, dtype=np.float32)

    def _draw(self, generator: np.random.Generator, first: float, second: float) -> Any:
        high: Any = np.array([first, second])
        return super()._draw(generator, -high, high)

    def _observe(self) -> NDArray[np.float32]:
        angle, speed = self._state
        return np.stack((np.cos(angle), np.sin(angle), speed), axis=1).astype(np.float32)

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        self._torque = limited(self, self._forces(actions))
        # A power one by one, as Gymnasium takes it: the square of an array is rounded otherwise once in a thousand.
        effort = np.array([torque**2 for torque in self._torque])
        cost, self._state = swung(self, self._state, self._torque, effort)
        self._fresh[:] = False
        return -cost, np.zeros(self.num_envs, dtype=np.bool_)

    def _paint(self, copy: int) -> Any:
        self._painter.last_u = None if self._fresh[copy] else self._torque[copy]
        return super()._paint(copy)


def limited(of: Any, torque: NDArray[Any]) -> NDArray[Any]:
    """Return what the motor gives when asked for `torque`, shape (N,), in the precision of `torque`."""
    most = np.asarray(of.max_torque, dtype=torque.dtype)
    given: NDArray[Any] = np.minimum(np.maximum(torque, -most), most)
    return given


def swung(of: Any, state: NDArray[Any], torque: Any, effort: Any) -> tuple[Any, NDArray[Any]]:
    """Return the cost of a step and the state after it.

    Args:
        of: what has the parameters as attributes, numbers or shape (N,).
        state: angle from upright and angular velocity before the step, shape (2,) or (2, N).
        torque: in single precision, a number or shape (N,).
        effort: square of `torque`.
    """
    angle, speed = state
    leaning = angle_normalize(angle)  # type: ignore[no-untyped-call]  # Gymnasium's
    weight, response = torque.dtype.type(0.001), np.asarray(of.response, dtype=torque.dtype)
    cost = np.float_power(leaning, 2) + 0.1 * np.float_power(speed, 2) + weight * effort
    faster = speed + (of.acceleration * np.sin(angle - of.gravity_angle) + response * torque) * of.dt
    faster = np.minimum(np.maximum(faster, -of.max_speed), of.max_speed)
    return cost, np.array((angle + faster * of.dt, faster))
