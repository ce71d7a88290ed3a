"""Swimmer, three limbs in water, whose physics drifts."""

from __future__ import annotations

from dataclasses import dataclass

from lopgym.envs import environments
from lopgym.envs.mujoco_body import RENDERED, BodyPhysics, MuJoCoBody
from lopgym.physics import param


@dataclass(frozen=True, eq=False)
class SwimmerPhysics(BodyPhysics):
    """What can drift, of the body and of its water, within bounds beyond which the simulation breaks."""

    mass_scale: float = param(1.0, low=0.5, high=3.0, unit="1", doc="masses and inertias of all parts")
    size_scale: float = param(1.0, low=0.7, high=1.5, unit="1", doc="thickness of all parts, at their density")
    density: float = param(4000.0, low=500.0, high=6000.0, unit="kg/m^3", doc="density of the water")
    viscosity: float = param(0.1, low=0.0, high=5.0, unit="Pa s", doc="viscosity of the water")


@environments.register(
    "swimmer",
    id="Swimmer-v0",
    max_episode_steps=1000,
    drifts={"density": {"kind": "cycle", "values": [4000.0, 1000.0], "period": 1_000_000}},
)
class Swimmer(MuJoCoBody):
    """Swim with three limbs in a plane while the water, masses, sizes or motors change.

    ## Description
    Gymnasium's Swimmer-v5, bit for bit as long as nothing has moved, with physics that can drift. Gravity, friction and
    damping do nothing in it and cannot drift.

    ## Action Space
    `Box(-1, 1, (2,), float32)`: the torque of both joints, as a part of what its motor can give.

    ## Observation Space
    `Box(8,)`, float64: the angles of the first limb and of the joints, and all velocities; where it is is not seen.

    ## Rewards
    The velocity forwards (m/s) minus 0.0001 of the squared action.

    ## Starting State
    Stretched out, positions and velocities uniform within 0.1 of that and of rest.

    ## Episode End
    Truncation after 1000 steps of 0.04 s.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `density` | kg/m^3 | `cycle`, `values` 4000.0 and 1000.0, `period` 1 000 000 |
    | `viscosity` | Pa s | none |
    | `mass_scale` | 1 | none |
    | `size_scale` | 1 | none |
    | `gear_scale` | 1 | none |

    Masses bring inertias with them; sizes are thicknesses, and bring masses and inertias with them. The lengths of
    limbs, the range and stiffness of joints and the time step cannot change at run time.

    ## Arguments
    None of its own.

    ## Version History
    * v0: first version.
    """

    original = "gymnasium.envs.mujoco.swimmer_v5:SwimmerEnv"
    physics_type = SwimmerPhysics
    metadata = RENDERED | {"render_fps": 25}
