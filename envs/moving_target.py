"""CartPole that pays only where the cart and the pole are asked to be, and the place moves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.envs import environments
from lopgym.envs.cartpole import BatchedCartPole, CartPole, CartPolePhysics
from lopgym.envs.painting import GOOD
from lopgym.envs.world import Mask
from lopgym.physics import param

_UPRIGHT = 12 * 2 * math.pi / 360
_STRIPE = 12  # pixels


@dataclass(frozen=True, eq=False)
class MovingTargetPhysics(CartPolePhysics):
    """What can drift: all of CartPole's, and where the target is."""

    target_position: float = param(0.0, low=-2.4, high=2.4, unit="m", doc="middle of the interval that pays")
    target_range: float = param(0.6, low=0.05, high=4.8, unit="m", doc="half-width of the interval that pays")
    cone_angle: float = param(0.0, low=-_UPRIGHT, high=_UPRIGHT, unit="rad", doc="middle of the cone that pays")
    cone_range: float = param(_UPRIGHT, low=0.01, high=2 * _UPRIGHT, unit="rad", doc="half-width of the cone that pays")


class MovingTarget(CartPole):
    """Gymnasium's CartPole, paid on target only, with parameters that can change."""

    physics_type = MovingTargetPhysics
    target_position: float
    target_range: float

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step."""
        observation, _, terminated, truncated, info = super().step(action)
        assert self.state is not None
        return observation, float(on_target(self, self.state)), terminated, truncated, info

    def render(self) -> Any:
        """Return Gymnasium's picture with a stripe below the target, or show Gymnasium's."""
        picture = super().render()  # type: ignore[no-untyped-call]
        if picture is not None:
            middle = picture.shape[1] / 2
            ends = self.target_position - self.target_range, self.target_position + self.target_range
            left, right = (round(middle * min(max(1 + end / self.x_threshold, 0), 2)) for end in ends)
            picture[-_STRIPE:, left:right] = GOOD
        return picture


@environments.register(
    "moving_target",
    id="MovingTarget-v0",
    single=MovingTarget,
    max_episode_steps=500,
    drifts={"target_position": {"kind": "cycle", "values": [-1.0, 1.0], "period": 50_000}},
)
class BatchedMovingTarget(BatchedCartPole):
    """Balance a pole where it pays: in an interval of the track and a cone of angles that move, unseen.

    ## Description
    CartPole, in which only the reward changes: it asks the cart to be in an interval of the track and the pole to be in
    a cone, and both can move and become wider or narrower. Nothing of this can be seen; the reward tells. The idea is
    that of the cart-poles of Lecarpentier and Rachelson 2019 (arXiv:1904.10090), where leaving the interval or the cone
    ends the episode; here it only does not pay, so that a target that jumps can be followed. Gravity, its direction,
    masses and so on can drift as in CartPole.

    ## Action Space
    `Discrete(2)`: push the cart to the left (0) or to the right (1).

    ## Observation Space
    `Box(4,)`, float32: position (m), velocity (m/s), angle (rad), angular velocity (rad/s); the bounds are Gymnasium's.

    ## Rewards
    1 at every step after which the cart is within `target_range` of `target_position` and the pole within `cone_range`
    of `cone_angle`, else 0. At first the cone holds every angle at which the episode goes on.

    ## Starting State
    Four numbers, uniform on [-`start_range`, `start_range`); `reset(options={"low": a, "high": b})` draws from
    elsewhere.

    ## Episode End
    Termination when the cart is more than `x_threshold` from the middle or the pole more than
    `theta_threshold_radians` from upright, wherever the target is; truncation after 500 steps.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `target_position` | m | `cycle`, `values` -1.0 and 1.0, `period` 50 000 |
    | `target_range` | m | none |
    | `cone_angle`, `cone_range` | rad | none |
    | `gravity` | m/s^2 | none |
    | `gravity_angle` | rad | none |
    | `masscart`, `masspole` | kg | none |
    | `length` | m | none |
    | `force_mag` | N | none |
    | `tau` | s | none |
    | `x_threshold` | m | none; at most 2.4 |
    | `theta_threshold_radians` | rad | none; at most 12 degrees |
    | `start_range` | 1 | none |

    ## Arguments
    None of its own.

    ## Version History
    * v0: first version.
    """

    physics_type = MovingTargetPhysics
    single_type = MovingTarget

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        _, fallen = super()._advance(actions)
        return on_target(self, self._state).astype(np.float64), fallen


def on_target(of: Any, state: NDArray[Any]) -> Any:
    """Return whether cart and pole are where it pays, shape () or (N,), from a state of shape (4,) or (4, N)."""
    position, _, angle, _ = state
    in_interval = np.abs(position - of.target_position) <= of.target_range
    return in_interval & (np.abs(angle - of.cone_angle) <= of.cone_range)
