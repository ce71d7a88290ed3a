"""CartPole whose gravity and its direction, masses, length, motor, time step, limits and start drift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from numpy.typing import NDArray

from lopgym.envs import environments
from lopgym.envs.classic import BatchedClassic, Classic
from lopgym.envs.world import METADATA, Mask
from lopgym.physics import Physics, param

_FALLEN = 12 * 2 * math.pi / 360


@dataclass(frozen=True, eq=False)
class CartPolePhysics(Physics):
    """What can drift. The limits can only shrink: the observation space was made for Gymnasium's."""

    gravity: float = param(9.8, low=0.1, high=50.0, unit="m/s^2", doc="pull on the pole")
    masscart: float = param(1.0, low=0.1, high=20.0, unit="kg", doc="mass of the cart")
    masspole: float = param(0.1, low=0.005, high=10.0, unit="kg", doc="mass of the pole")
    length: float = param(0.5, low=0.05, high=5.0, unit="m", doc="half the length of the pole")
    force_mag: float = param(10.0, low=0.5, high=100.0, unit="N", doc="push of an action")
    tau: float = param(0.02, low=0.002, high=0.05, unit="s", doc="time between two steps")
    x_threshold: float = param(2.4, low=0.1, high=2.4, unit="m", doc="distance from the middle that ends an episode")
    theta_threshold_radians: float = param(
        _FALLEN, low=0.02, high=_FALLEN, unit="rad", doc="angle from upright that ends an episode"
    )
    gravity_angle: float = param(
        0.0, low=-math.pi, high=math.pi, unit="rad", doc="direction of gravity, 0 down, positive to the right"
    )
    start_range: float = param(0.05, low=0.0, high=0.2, unit="1", doc="half-width of the start of all four numbers")

    @property
    def total_mass(self) -> float:
        """Mass of cart and pole, kg."""
        return self.masspole + self.masscart

    @property
    def polemass_length(self) -> float:
        """Mass of the pole times half its length, kg m."""
        return self.masspole * self.length

    @property
    def gravity_down(self) -> float:
        """The part of gravity that pulls down, m/s^2."""
        cosine: float = np.cos(self.gravity_angle)
        return self.gravity * cosine

    @property
    def gravity_right(self) -> float:
        """The part of gravity that pulls to the right, m/s^2."""
        sine: float = np.sin(self.gravity_angle)
        return self.gravity * sine

    @property
    def start_low(self) -> float:
        """Least value of each number at the start."""
        return -self.start_range

    @property
    def start_high(self) -> float:
        """Greatest value of each number at the start."""
        return self.start_range


class CartPole(Classic, CartPoleEnv):
    """Gymnasium's CartPole, with parameters that can change."""

    physics_type = CartPolePhysics
    gravity_down: float
    gravity_right: float

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step; gravity to the right is added by Euler's rule to the velocity that Gymnasium finds."""
        if not self._tilted:
            return CartPoleEnv.step(self, action)  # type: ignore[no-untyped-call, no-any-return]  # faster than super()
        _, *rest = super().step(action)  # type: ignore[no-untyped-call]
        assert self.state is not None
        self.state[1] += self.tau * self.gravity_right
        return self.state.astype(np.float32), *rest

    def _write_physics(self) -> None:
        super()._write_physics()
        self.gravity = float(self.gravity_down)  # all that Gymnasium's step knows of
        self._tilted = bool(self.gravity_right)


@environments.register(
    "cartpole",
    id="CartPole-v0",
    single=CartPole,
    max_episode_steps=500,
    drifts={"gravity": {"kind": "cycle", "values": [9.8, 20.0], "period": 50_000}},
)
class BatchedCartPole(BatchedClassic):
    """Balance a pole on a cart whose physics changes; Gymnasium's CartPole-v1 when nothing drifts.

    ## Description
    The cart-pole of Barto, Sutton and Anderson 1983 (doi:10.1109/TSMC.1983.6313077) as Gymnasium has it, step for step
    and bit for bit, single and batched. Every physical quantity can drift, and what follows from it (total mass, mass
    times length) follows.

    Gravity points `gravity_angle` away from down, towards the right if positive. Cart and pole fall to the side
    together, so with the angle a the pole feels g cos(a) only, in the place of g, and the cart is accelerated by
    g sin(a) more: x'' = x''(F, g cos(a)) + g sin(a), with x''(F, g) as in Gymnasium.

    ## Action Space
    `Discrete(2)`: push the cart to the left (0) or to the right (1).

    ## Observation Space
    `Box(4,)`, float32: position (m), velocity (m/s), angle (rad), angular velocity (rad/s); the bounds are Gymnasium's.
    As there, the last observation of an episode can lie outside them when the physics is extreme.

    ## Rewards
    1 at every step, the last included.

    ## Starting State
    Four numbers, uniform on [-`start_range`, `start_range`); `reset(options={"low": a, "high": b})` draws from
    elsewhere.

    ## Episode End
    Termination when the cart is more than `x_threshold` from the middle or the pole more than
    `theta_threshold_radians` from upright; truncation after 500 steps.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `gravity` | m/s^2 | `cycle`, `values` 9.8 and 20.0, `period` 50 000 |
    | `masscart`, `masspole` | kg | none |
    | `length` | m | none |
    | `force_mag` | N | none |
    | `tau` | s | none |
    | `x_threshold` | m | none; at most 2.4 |
    | `theta_threshold_radians` | rad | none; at most 12 degrees |
    | `gravity_angle` | rad | none |
    | `start_range` | 1 | none |

    ## Arguments
    None of its own.

    ## Version History
    * v0: first version.
    """

    metadata = METADATA | {"render_fps": 50}
    physics_type = CartPolePhysics
    single_type = CartPole
    state_size = start_size = 4
    gravity_down: Any
    gravity_right: Any
    masspole: Any
    length: Any
    force_mag: Any
    tau: Any
    x_threshold: Any
    theta_threshold_radians: Any
    total_mass: Any
    polemass_length: Any

    def _write_physics(self) -> None:
        super()._write_physics()
        self._tilted = bool(np.any(self.gravity_right))

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        """Euler's rule on the equations of Florian 2007 without friction, in Gymnasium's order of operations."""
        x, x_dot, theta, theta_dot = self._state
        force = (2 * np.asarray(actions) - 1) * self.force_mag
        cosine, sine = np.cos(theta), np.sin(theta)
        temp = (force + self.polemass_length * np.square(theta_dot) * sine) / self.total_mass
        theta_acc = (self.gravity_down * sine - cosine * temp) / (
            self.length * (4.0 / 3.0 - self.masspole * np.square(cosine) / self.total_mass)
        )
        x_acc = temp - self.polemass_length * theta_acc * cosine / self.total_mass
        x += self.tau * x_dot
        x_dot += self.tau * x_acc
        theta += self.tau * theta_dot
        theta_dot += self.tau * theta_acc
        if self._tilted:
            x_dot += self.tau * self.gravity_right
        fallen = (np.abs(x) > self.x_threshold) | (np.abs(theta) > self.theta_threshold_radians)
        return np.ones(self.num_envs), fallen
