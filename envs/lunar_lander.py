"""LunarLander whose gravity, wind, engines, ground and first push drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lopgym.envs import environments
from lopgym.envs.box2d_body import Box2DBody, rub
from lopgym.physics import Physics, param


@dataclass(frozen=True, eq=False)
class LunarLanderPhysics(Physics):
    """What can drift."""

    gravity: float = param(10.0, low=1.0, high=20.0, unit="m/s^2", doc="pull downwards")
    wind_power: float = param(0.0, low=0.0, high=30.0, unit="N", doc="greatest force of the wind, to either side")
    turbulence_power: float = param(0.0, low=0.0, high=4.0, unit="N m", doc="greatest torque of the wind")
    main_engine_power: float = param(13.0, low=2.0, high=30.0, unit="1", doc="thrust of the main engine")
    side_engine_power: float = param(0.6, low=0.1, high=2.0, unit="1", doc="thrust of the side engines")
    friction: float = param(0.1, low=0.0, high=5.0, unit="1", doc="friction of the ground")
    start_force: float = param(1000.0, low=0.0, high=2000.0, unit="N", doc="greatest force of the push at the start")


@environments.register(
    "lunar_lander",
    id="LunarLander-v0",
    max_episode_steps=1000,
    drifts={"gravity": {"kind": "cycle", "values": [10.0, 5.0], "period": 100_000}},
)
class LunarLander(Box2DBody):
    """Land on the moon between the flags while gravity, wind, engines or ground change.

    ## Description
    Gymnasium's LunarLander-v3, bit for bit as long as nothing has moved. Every physical quantity below can drift; the
    constants of Gymnasium's module are left alone, so that other landers fly as before.

    The wind is Gymnasium's, tanh(sin(2 k) + sin(pi k)) times its power, where k grows by 0.01 with every step in the
    air. It starts at a random k in an episode that begins with wind, and at 0 where it rises later.

    ## Action Space
    `Discrete(4)`: nothing (0), the left engine (1), the main engine (2), the right engine (3). If `continuous`,
    `Box(-1, 1, (2,), float32)`: throttle of the main engine, off below 0, and of the side engines, off within 0.5 of 0.

    ## Observation Space
    `Box(8,)`, float32: position from the pad, velocity, angle, angular velocity, all as Gymnasium scales them, and
    whether each leg touches the ground. As there, numbers can lie outside their bounds when the physics is extreme.

    ## Rewards
    The gain in a potential that is higher the nearer, the slower and the more upright the lander is, and by 10 for
    every leg on the ground; minus 0.3 for a step of the main engine and 0.03 for one of a side engine; at the end -100
    for a crash or for leaving the picture, 100 for coming to rest.

    ## Starting State
    At the top of the picture, pushed by a force uniform within `start_force` in both directions, above ground of random
    shape.

    ## Episode End
    Termination when the lander crashes, leaves the picture sideways or comes to rest; truncation after 1000 steps.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `gravity` | m/s^2 | `cycle`, `values` 10.0 and 5.0, `period` 100 000 |
    | `wind_power` | N | none |
    | `turbulence_power` | N m | none |
    | `main_engine_power`, `side_engine_power` | 1 | none |
    | `friction` | 1 | none |
    | `start_force` | N | none |

    The friction of a contact is the geometric mean of the two that touch: the legs have 0.2. Shape, size and mass of
    the lander cannot change at run time.

    ## Arguments
    `continuous` (false): whether actions are continuous, as in LunarLanderContinuous-v3.

    ## Version History
    * v0: first version.
    """

    original = "gymnasium.envs.box2d.lunar_lander:LunarLander"
    physics_type = LunarLanderPhysics
    gravity: float
    wind_power: float
    turbulence_power: float
    main_engine_power: float
    side_engine_power: float
    friction: float
    start_force: float

    def __init__(self, render_mode: str | None = None, *, continuous: bool = False) -> None:
        """Make a lander.

        Args:
            render_mode: `rgb_array`, `human` or None.
            continuous: whether the engines can be throttled.

        Raises:
            gymnasium.error.DependencyNotInstalled: Box2D is not installed.
        """
        super().__init__(render_mode, continuous=continuous)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, on new ground."""
        lander: Any = self.unwrapped
        lander.wind_idx = lander.torque_idx = 0  # drawn by Gymnasium where there is wind
        said = super().reset(seed=seed, options=options)
        rub(lander.world, [lander.moon], self.friction)
        return said

    def _write_physics(self) -> None:
        super()._write_physics()
        lander: Any = self.unwrapped
        lander.gravity, lander.world.gravity = -self.gravity, (0, -self.gravity)
        lander.wind_power, lander.turbulence_power = self.wind_power, self.turbulence_power
        lander.enable_wind = bool(self.wind_power or self.turbulence_power)
        self._bind("step", MAIN_ENGINE_POWER=self.main_engine_power, SIDE_ENGINE_POWER=self.side_engine_power)
        self._bind("reset", INITIAL_RANDOM=self.start_force)
        if lander.moon is not None:
            rub(lander.world, [lander.moon], self.friction)
