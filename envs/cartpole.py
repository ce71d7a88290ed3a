"""CartPole whose gravity, masses, length, motor, time step and limits drift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control import utils
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from numpy.typing import NDArray

from lopgym.envs import environments
from lopgym.envs.world import METADATA, BatchedWorld, Mask
from lopgym.physics import Parametric, Physics, param

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

    @property
    def total_mass(self) -> float:
        """Mass of cart and pole, kg."""
        return self.masspole + self.masscart

    @property
    def polemass_length(self) -> float:
        """Mass of the pole times half its length, kg m."""
        return self.masspole * self.length


class CartPole(Parametric, CartPoleEnv):
    """Gymnasium's CartPole, with parameters that can change."""

    physics_type = CartPolePhysics

    def __init__(self, render_mode: str | None = None) -> None:
        """Start as Gymnasium's."""
        super().__init__(render_mode=render_mode)
        self.physics = CartPolePhysics()
        self._write_physics()


@environments.register(
    "cartpole",
    id="CartPole-v0",
    single=CartPole,
    max_episode_steps=500,
    drifts={"gravity": {"kind": "cycle", "values": [9.8, 20.0], "period": 50_000}},
)
class BatchedCartPole(BatchedWorld):
    """Balance a pole on a cart whose physics changes; Gymnasium's CartPole-v1 when nothing drifts.

    ## Description
    The cart-pole of Barto, Sutton and Anderson 1983 (doi:10.1109/TSMC.1983.6313077) as Gymnasium has it, step for step
    and bit for bit, single and batched. Every physical quantity can drift, and what follows from it (total mass, mass
    times length) follows.

    ## Action Space
    `Discrete(2)`: push the cart to the left (0) or to the right (1).

    ## Observation Space
    `Box(4,)`, float32: position (m), velocity (m/s), angle (rad), angular velocity (rad/s); the bounds are Gymnasium's.
    As there, the last observation of an episode can lie outside them when the physics is extreme.

    ## Rewards
    1 at every step, the last included.

    ## Starting State
    Four numbers, uniform on [-0.05, 0.05); `reset(options={"low": a, "high": b})` draws from elsewhere.

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

    ## Arguments
    None of its own.

    ## Version History
    * v0: first version.
    """

    metadata = METADATA | {"render_fps": 50}
    physics_type = CartPolePhysics
    gravity: Any
    masspole: Any
    length: Any
    force_mag: Any
    tau: Any
    x_threshold: Any
    theta_threshold_radians: Any
    total_mass: Any
    polemass_length: Any

    def __init__(self, num_envs: int = 1, render_mode: str | None = None) -> None:
        """Set up N carts."""
        self._painter = CartPole(render_mode="rgb_array")
        super().__init__(num_envs, render_mode, self._painter.observation_space, self._painter.action_space)
        self._generators = [np.random.default_rng() for _ in range(num_envs)]
        self._state = np.zeros((4, num_envs))
        self._start = (-0.05, 0.05)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin episodes; `options` may have Gymnasium's `low` and `high` of the start."""
        self._start = utils.maybe_parse_reset_bounds(options, -0.05, 0.05)
        return super().reset(seed=seed, options=options)

    def _seed(self, mask: Mask, seeds: list[int | None]) -> None:
        """Each copy has Gymnasium's generator, so that it starts where Gymnasium's would."""
        super()._seed(mask, seeds)
        for copy in mask.nonzero()[0]:
            if (seed := seeds[copy]) is not None:
                self._generators[copy] = gym.utils.seeding.np_random(seed)[0]

    def _begin(self, mask: Mask) -> None:
        for copy in mask.nonzero()[0]:
            self._state[:, copy] = self._generators[copy].uniform(*self._start, size=(4,))

    def _observe(self) -> NDArray[np.float32]:
        return self._state.T.astype(np.float32)

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        """Euler's rule on the equations of Florian 2007 without friction, in Gymnasium's order of operations."""
        _, x_dot, theta, theta_dot = self._state
        force = np.where(np.asarray(actions) == 1, self.force_mag, -self.force_mag)
        cosine, sine = np.cos(theta), np.sin(theta)
        temp = (force + self.polemass_length * np.square(theta_dot) * sine) / self.total_mass
        theta_acc = (self.gravity * sine - cosine * temp) / (
            self.length * (4.0 / 3.0 - self.masspole * np.square(cosine) / self.total_mass)
        )
        x_acc = temp - self.polemass_length * theta_acc * cosine / self.total_mass
        change = self.tau * np.stack((x_dot, x_acc, theta_dot, theta_acc))
        self._state = self._state + change
        fallen = (np.abs(self._state[0]) > self.x_threshold) | (np.abs(self._state[2]) > self.theta_threshold_radians)
        return np.ones(self.num_envs), fallen

    def _paint(self, copy: int) -> Any:
        """Let Gymnasium's CartPole draw the copy."""
        of_copy = {name: np.broadcast_to(getattr(self, name), self.num_envs)[copy] for name in self.physics.names()}
        self._painter.set_physics(**of_copy)
        self._painter.state = self._state[:, copy]
        return self._painter.render()  # type: ignore[no-untyped-call]  # Gymnasium's
