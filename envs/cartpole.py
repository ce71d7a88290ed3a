"""CartPole whose gravity and its direction, masses, length, motor, time step, limits and start drift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from numpy.typing import NDArray

from lopgym.envs import environments
from lopgym.envs.cartpole_motion import CartPoleMotion
from lopgym.envs.classic import BatchedClassic, Classic
from lopgym.envs.tilt import TiltedGravity
from lopgym.envs.world import METADATA, Mask
from lopgym.physics import Physics, param

_FALLEN = 12 * 2 * math.pi / 360


@dataclass(frozen=True, eq=False)
class CartPolePhysics(TiltedGravity, Physics):
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
    # Gymnasium's step knows of no gravity but that which pulls down.
    other_names: ClassVar[dict[str, str]] = {"gravity": "gravity_down", "tilt": "gravity_angle"}
    gravity_angle: float
    gravity_right: float

    @property
    def tilt(self) -> float:
        """The direction of gravity, rad. An environment that is no more than a CartPole is upright where this is 0."""
        return self.gravity_angle

    @tilt.setter
    def tilt(self, angle: float) -> None:
        if type(self) in (CartPole, UprightCartPole):
            self.__class__ = CartPole if angle else UprightCartPole

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step; gravity to the right is added by Euler's rule to the velocity that Gymnasium finds."""
        said: tuple[Any, float, bool, bool, dict[str, Any]] = super().step(action)  # type: ignore[no-untyped-call]
        if not self.gravity_angle:
            return said
        assert self.state is not None
        self.state[1] += self.tau * self.gravity_right
        return self.state.astype(np.float32), *said[1:]


class UprightCartPole(CartPole):
    """CartPole while gravity points down: the step is Gymnasium's itself, without a call between."""

    step = CartPoleEnv.step


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
    gravity_right: Any
    tau: Any

    def __init__(self, num_envs: int = 1, render_mode: str | None = None) -> None:
        """Set up N cart-poles."""
        super().__init__(num_envs, render_mode)
        self._motion, self._ones = CartPoleMotion(self._state), np.ones(num_envs)  # which moves that very array

    def _write_physics(self) -> None:
        super()._write_physics()
        self._tilted, self._changed = bool(np.count_nonzero(self.gravity_right)), True

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        if self._changed:
            self._motion.take(self)
            self._changed = False
        fallen = self._motion.step(actions)
        if self._tilted:
            self._state[1] += self.tau * self.gravity_right
        return self._ones.copy(), fallen
