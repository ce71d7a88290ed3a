"""BipedalWalker whose gravity, wind, motors, ground and first push drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, SupportsFloat

from lopgym.envs import environments
from lopgym.envs.box2d_body import Box2DBody, rub
from lopgym.physics import Physics, param


@dataclass(frozen=True, eq=False)
class BipedalWalkerPhysics(Physics):
    """What can drift."""

    gravity: float = param(10.0, low=1.0, high=20.0, unit="m/s^2", doc="pull downwards")
    wind: float = param(0.0, low=-20.0, high=20.0, unit="N", doc="force on the hull, positive forwards")
    friction: float = param(2.5, low=0.01, high=20.0, unit="1", doc="friction of the ground")
    motor_torque: float = param(80.0, low=10.0, high=200.0, unit="N m", doc="greatest torque of the motors")
    start_force: float = param(5.0, low=0.0, high=50.0, unit="N", doc="greatest force of the push at the start")


@environments.register(
    "bipedal_walker",
    id="BipedalWalker-v0",
    max_episode_steps=1600,
    drifts={"friction": {"kind": "cycle", "values": [2.5, 0.1], "period": 200_000}},
)
class BipedalWalker(Box2DBody):
    """Walk on two legs over uneven ground while gravity, wind, motors or ground change.

    ## Description
    Gymnasium's BipedalWalker-v3, with numbers that can drift; as long as nothing has moved, every episode is bit for
    bit the first one of a new BipedalWalker-v3. Gymnasium goes on in a used world of Box2D's, so that there a seeded
    episode can depend on the ones before it; here every episode has a new world.

    ## Action Space
    `Box(-1, 1, (4,), float32)`: for each hip and knee, the direction in which the motor turns and the part of its
    torque that it may use.

    ## Observation Space
    `Box(24,)`, float32: angle and velocities of the hull, angles and velocities of the joints, whether each leg touches
    the ground, and 10 distances to the ground by lidar; positions are not seen. As in Gymnasium, numbers can lie
    outside their bounds when the physics is extreme.

    ## Rewards
    130 / 30 for a metre forwards, minus 5 for a rad by which the hull leans more, minus 0.00035 for every N m that a
    motor may use, so that `motor_torque` changes the cost of an action, too; -100 for falling.

    ## Starting State
    Standing at the left end of ground of random shape, pushed by a horizontal force uniform within `start_force`.

    ## Episode End
    Termination when the hull touches the ground, the walker leaves to the left, or it arrives at the right end;
    truncation after 1600 steps.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `gravity` | m/s^2 | none |
    | `wind` | N | none |
    | `friction` | 1 | `cycle`, `values` 2.5 and 0.1, `period` 200 000 |
    | `motor_torque` | N m | none |
    | `start_force` | N | none |

    The friction of a contact is the geometric mean of the two that touch: the feet have 0.2. Shape, size and mass of
    the walker cannot change at run time, nor the speed of its motors, which is the unit of what it sees of its joints.

    ## Arguments
    `hardcore` (false): whether there are stumps, stairs and pits. Gymnasium gives those episodes 2000 steps:
    `gymnasium.make("lopgym/BipedalWalker-v0", hardcore=True, max_episode_steps=2000)`.

    ## Version History
    * v0: first version.
    """

    original = "gymnasium.envs.box2d.bipedal_walker:BipedalWalker"
    physics_type = BipedalWalkerPhysics
    gravity: float
    wind: float
    friction: float
    motor_torque: float
    start_force: float
    _rubbed: float | None = None  # the friction in force

    def __init__(self, render_mode: str | None = None, *, hardcore: bool = False) -> None:
        """Make a walker.

        Args:
            render_mode: `rgb_array`, `human` or None.
            hardcore: whether there are stumps, stairs and pits.

        Raises:
            gymnasium.error.DependencyNotInstalled: Box2D is not installed.
        """
        super().__init__(render_mode, hardcore=hardcore)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, on new ground in a new world."""
        walker: Any = self.unwrapped
        walker._destroy()
        walker.world = type(walker.world)(gravity=(0, -self.gravity))
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take one step, in the wind."""
        if self.wind:
            self.unwrapped.hull.ApplyForceToCenter((self.wind, 0.0), True)  # type: ignore[attr-defined]
        return super().step(action)

    def _write_physics(self) -> None:
        super()._write_physics()
        walker: Any = self.unwrapped
        walker.world.gravity = (0, -self.gravity)
        if self.friction != self._rubbed:  # there are 200 pieces of ground
            rub(walker.world, walker.terrain, self.friction)
            walker.fd_edge.friction = walker.fd_polygon.friction = self._rubbed = self.friction  # of those to come, too
        self._bind("step", MOTORS_TORQUE=self.motor_torque)
        self._bind("reset", INITIAL_RANDOM=self.start_force, MOTORS_TORQUE=self.motor_torque)
