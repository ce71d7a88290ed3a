"""Acrobot whose gravity and its direction, links, motor, noise, limits, goal and start drift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.acrobot import AcrobotEnv
from numpy.typing import NDArray

from lopgym.envs import environments
from lopgym.envs.classic import BatchedClassic, Classic
from lopgym.envs.world import METADATA, Mask
from lopgym.physics import Physics, param

_FAST_1, _FAST_2 = 4 * math.pi, 9 * math.pi
_FAR = 100.0  # rad; Gymnasium would turn such an angle back by one turn at a time, for ever if it is far enough


@dataclass(frozen=True, eq=False)
class AcrobotPhysics(Physics):
    """What can drift, under Gymnasium's names. The speeds can only shrink: the observation space is Gymnasium's."""

    gravity: float = param(9.8, low=0.1, high=50.0, unit="m/s^2", doc="pull on both links")
    gravity_angle: float = param(
        0.0, low=-math.pi, high=math.pi, unit="rad", doc="direction of gravity, 0 down, positive to the right"
    )
    LINK_LENGTH_1: float = param(1.0, low=0.1, high=5.0, unit="m", doc="length of the upper link")
    LINK_MASS_1: float = param(1.0, low=0.1, high=10.0, unit="kg", doc="mass of the upper link")
    LINK_MASS_2: float = param(1.0, low=0.1, high=10.0, unit="kg", doc="mass of the lower link")
    LINK_COM_POS_1: float = param(0.5, low=0.05, high=2.5, unit="m", doc="centre of mass along the upper link")
    LINK_COM_POS_2: float = param(0.5, low=0.05, high=2.5, unit="m", doc="centre of mass along the lower link")
    LINK_MOI: float = param(1.0, low=0.1, high=10.0, unit="kg m^2", doc="moment of inertia of each link")
    MAX_VEL_1: float = param(_FAST_1, low=0.1, high=_FAST_1, unit="rad/s", doc="greatest speed of the upper joint")
    MAX_VEL_2: float = param(_FAST_2, low=0.1, high=_FAST_2, unit="rad/s", doc="greatest speed of the lower joint")
    torque: float = param(1.0, low=0.05, high=10.0, unit="N m", doc="torque of an action")
    torque_noise_max: float = param(0.0, low=0.0, high=5.0, unit="N m", doc="half-width of the noise of the torque")
    dt: float = param(0.2, low=0.01, high=0.4, unit="s", doc="time between two steps")
    goal_height: float = param(1.0, low=-1.9, high=1.9, unit="link", doc="height of the tip that ends an episode")
    start_range: float = param(0.1, low=0.0, high=1.0, unit="1", doc="half-width of the start of all four numbers")

    @property
    def start_low(self) -> float:
        """Least value of each number at the start."""
        return -self.start_range

    @property
    def start_high(self) -> float:
        """Greatest value of each number at the start."""
        return self.start_range


class Acrobot(Classic, AcrobotEnv):
    """Gymnasium's Acrobot, with parameters that can change."""

    physics_type = AcrobotPhysics
    torque: float

    def step(self, a: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step: Gymnasium's, with every constant of it a parameter.

        Raises:
            ValueError: the action is not in the action space.
        """
        if not self.action_space.contains(a):
            raise ValueError(f"action {a!r} is not in {self.action_space}")
        assert self.state is not None, "reset the environment before its first step"
        torque = self.torque * (int(a) - 1)
        if self.torque_noise_max > 0:
            torque += self.np_random.uniform(-self.torque_noise_max, self.torque_noise_max)
        self.state = advanced(self, self.state.astype(np.float64), torque)
        terminated = bool(is_high(self, self.state))
        if self.render_mode == "human":
            self.render()
        return self._get_ob(), 0.0 if terminated else -1.0, terminated, False, {}


@environments.register(
    "acrobot",
    id="Acrobot-v0",
    single=Acrobot,
    max_episode_steps=500,
    drifts={"LINK_MASS_2": {"kind": "cycle", "values": [1.0, 2.0], "period": 50_000}},
)
class BatchedAcrobot(BatchedClassic):
    """Swing a chain of two links up by its middle joint while its physics changes; Gymnasium's when nothing drifts.

    ## Description
    The acrobot of Sutton 1996, with the equations of Sutton and Barto's book, as Gymnasium's Acrobot-v1 has it, step
    for step and bit for bit, single and batched. Every physical quantity can drift, under Gymnasium's names; the length
    of the lower link is missing because no equation contains it.

    Gravity points `gravity_angle` away from down, towards the right of the picture if positive: in the two terms of
    gravity, and only there, the angle a is taken off the angle of each link from down: g cos(theta1 - a - pi/2) and
    g cos(theta1 + theta2 - a - pi/2).

    ## Action Space
    `Discrete(3)`: a torque of minus `torque` (0), none (1) or `torque` (2) on the middle joint, to which comes noise,
    uniform within `torque_noise_max`.

    ## Observation Space
    `Box(6,)`, float32: cosine and sine of the angle of the upper link from down, of the lower link from the upper one,
    and the two angular velocities (rad/s); the bounds are Gymnasium's.

    ## Rewards
    -1 at every step, 0 at the one that reaches the goal.

    ## Starting State
    Two angles and two velocities, uniform on [-`start_range`, `start_range`); `reset(options={"low": a, "high": b})`
    draws from elsewhere.

    ## Episode End
    Termination when the tip is high: -cos(theta1) - cos(theta1 + theta2) > `goal_height`, in lengths of a link of
    Gymnasium's; truncation after 500 steps.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `gravity` | m/s^2 | none |
    | `gravity_angle` | rad | none |
    | `LINK_LENGTH_1`, `LINK_COM_POS_1`, `LINK_COM_POS_2` | m | none |
    | `LINK_MASS_1` | kg | none |
    | `LINK_MASS_2` | kg | `cycle`, `values` 1.0 and 2.0, `period` 50 000 |
    | `LINK_MOI` | kg m^2 | none |
    | `MAX_VEL_1`, `MAX_VEL_2` | rad/s | none; at most 4 pi and 9 pi |
    | `torque`, `torque_noise_max` | N m | none |
    | `dt` | s | none |
    | `goal_height` | link | none |
    | `start_range` | 1 | none |

    ## Arguments
    None of its own.

    ## Version History
    * v0: first version.
    """

    metadata = METADATA | {"render_fps": 15}
    physics_type = AcrobotPhysics
    single_type = Acrobot
    state_size = start_size = 4
    torque: Any
    torque_noise_max: Any

    def _draw(self, generator: np.random.Generator, first: float, second: float) -> Any:
        return super()._draw(generator, first, second).astype(np.float32)

    def _observe(self) -> NDArray[np.float32]:
        """Gymnasium sees the first state of an episode in single precision, the others in double."""
        seen = _seen(self._state)
        return np.where(self._fresh, _seen(self._state.astype(np.float32)), seen).T if self._fresh.any() else seen.T

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        torque = self.torque * (np.asarray(actions) - 1.0) + self._noise()
        self._state = advanced(self, self._state, torque)
        self._fresh[:] = False
        there = is_high(self, self._state)
        return np.where(there, 0.0, -1.0), there

    def _noise(self) -> NDArray[np.float64]:
        """Return the noise of the torque of each copy, from its own generator as in Gymnasium, shape (N,)."""
        widths, noise = np.broadcast_to(self.torque_noise_max, self.num_envs), np.zeros(self.num_envs)
        if not np.any(self.torque_noise_max):
            return noise
        self._give_back()
        for copy in widths.nonzero()[0]:
            noise[copy] = self._generators[copy].uniform(-widths[copy], widths[copy])
        return noise


def advanced(of: Any, state: NDArray[Any], torque: Any) -> NDArray[Any]:
    """Return the state, shape (4,) or (4, N), after one step of the classical Runge-Kutta method.

    Args:
        of: what has the parameters as attributes, numbers or shape (N,).
        state: angles and velocities before.
        torque: on the middle joint, a number or shape (N,).
    """
    slope1 = slope(of, state, torque)
    slope2 = slope(of, state + of.dt / 2.0 * slope1, torque)
    slope3 = slope(of, state + of.dt / 2.0 * slope2, torque)
    slope4 = slope(of, state + of.dt * slope3, torque)
    after: NDArray[Any] = state + of.dt / 6.0 * (slope1 + 2 * slope2 + 2 * slope3 + slope4)
    after[:2] = wrapped(after[:2])
    after[2] = np.minimum(np.maximum(after[2], -of.MAX_VEL_1), of.MAX_VEL_1)
    after[3] = np.minimum(np.maximum(after[3], -of.MAX_VEL_2), of.MAX_VEL_2)
    return after


def slope(of: Any, state: NDArray[Any], torque: Any) -> NDArray[Any]:
    """Return how fast the state changes, after Sutton and Barto's book, in Gymnasium's order of operations.

    Arguments are as of `advanced`.
    """
    theta1, theta2, speed1, speed2 = state
    mass2, length1, inertia = of.LINK_MASS_2, of.LINK_LENGTH_1, of.LINK_MOI
    centre1, centre2 = of.LINK_COM_POS_1, of.LINK_COM_POS_2
    cosine, sine = np.cos(theta2), np.sin(theta2)
    d1 = of.LINK_MASS_1 * _squared(centre1)
    d1 = d1 + mass2 * (_squared(length1) + _squared(centre2) + 2 * length1 * centre2 * cosine) + inertia + inertia
    d2 = mass2 * (_squared(centre2) + length1 * centre2 * cosine) + inertia
    phi2 = mass2 * centre2 * of.gravity * np.cos(theta1 + theta2 - of.gravity_angle - np.pi / 2.0)
    phi1 = (
        -mass2 * length1 * centre2 * _squared(speed2) * sine
        - 2 * mass2 * length1 * centre2 * speed2 * speed1 * sine
        + (of.LINK_MASS_1 * centre1 + mass2 * length1) * of.gravity * np.cos(theta1 - of.gravity_angle - np.pi / 2)
        + phi2
    )
    speed2_change = (torque + d2 / d1 * phi1 - mass2 * length1 * centre2 * _squared(speed1) * sine - phi2) / (
        mass2 * _squared(centre2) + inertia - _squared(d2) / d1
    )
    return np.array((speed1, speed2, -(d2 * speed2_change + phi1) / d1, speed2_change))


def _squared(x: Any) -> Any:
    """Return x to the power of 2 as the C library rounds it; the rounded product differs once in a thousand times."""
    return x**2 if isinstance(x, float) else np.float_power(x, 2)


def wrapped(angles: NDArray[Any]) -> NDArray[Any]:
    """Return the angles turned back into [-pi, pi], a turn at a time as Gymnasium does it."""
    far = np.abs(angles) > _FAR
    if far.any():
        angles = np.where(far, np.remainder(angles, 2 * np.pi), angles)
    while (above := angles > np.pi).any():
        angles = np.where(above, angles - 2 * np.pi, angles)
    while (below := angles < -np.pi).any():
        angles = np.where(below, angles + 2 * np.pi, angles)
    return angles


def is_high(of: Any, state: NDArray[Any]) -> Any:
    """Return whether the tip is above the goal, shape () or (N,)."""
    return -np.cos(state[0]) - np.cos(state[1] + state[0]) > of.goal_height


def _seen(state: NDArray[Any]) -> NDArray[np.float32]:
    """Return what is seen of a state, shape (6, N)."""
    first, second, *speeds = state
    return np.stack((np.cos(first), np.sin(first), np.cos(second), np.sin(second), *speeds)).astype(np.float32)
