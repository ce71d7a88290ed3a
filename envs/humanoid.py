"""Humanoid, a body like a human being's, whose physics drifts."""

from __future__ import annotations

from dataclasses import dataclass

from lopgym.envs import environments
from lopgym.envs.mujoco_body import RENDERED, MuJoCoBody, WalkerPhysics
from lopgym.physics import param


@dataclass(frozen=True, eq=False)
class HumanoidPhysics(WalkerPhysics):
    """What can drift, within bounds that its light joints bear: beyond them the simulation breaks."""

    mass_scale: float = param(1.0, low=0.5, high=2.0, unit="1", doc="masses and inertias of all parts")
    size_scale: float = param(1.0, low=0.8, high=1.25, unit="1", doc="thickness of all parts, at their density")
    damping_scale: float = param(1.0, low=0.2, high=2.0, unit="1", doc="damping of all joints")


@environments.register(
    "humanoid",
    id="Humanoid-v0",
    max_episode_steps=1000,
    drifts={"gravity": {"kind": "cycle", "values": [9.81, 7.0], "period": 1_000_000}},
)
class Humanoid(MuJoCoBody):
    """Walk like a human being while gravity, masses, sizes, friction, damping or motors change.

    ## Description
    Gymnasium's Humanoid-v5, bit for bit as long as nothing has moved, with physics that can drift.

    ## Action Space
    `Box(-0.4, 0.4, (17,), float32)`: the torque of each joint, as a part of what its motor can give.

    ## Observation Space
    `Box(348,)`, float64: height and attitude of the torso, angles of the joints, all velocities, then inertia,
    velocity, actuation and contact forces of every part; where it is on the plane is not seen.

    ## Rewards
    1.25 of the velocity forwards (m/s) of the centre of mass, 5 for a step in health, minus 0.1 of the squared
    controls, minus 5e-7 of the squared contact forces, at most 10.

    ## Starting State
    Upright at a height of 1.4 m, positions and velocities uniform within 0.01 of that and of rest.

    ## Episode End
    Termination when the torso is below 1 m or above 2 m; truncation after 1000 steps of 0.015 s.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `gravity` | m/s^2 | `cycle`, `values` 9.81 and 7.0, `period` 1 000 000 |
    | `mass_scale` | 1 | none |
    | `size_scale` | 1 | none |
    | `friction_scale` | 1 | none |
    | `damping_scale` | 1 | none |
    | `gear_scale` | 1 | none |

    Masses bring inertias with them; sizes are thicknesses, and bring masses and inertias with them. Friction is that of
    sliding, and of all surfaces: MuJoCo takes the greater of the two that touch. The lengths of limbs, the range and
    stiffness of joints and the time step cannot change at run time.

    ## Arguments
    None of its own.

    ## Version History
    * v0: first version.
    """

    original = "gymnasium.envs.mujoco.humanoid_v5:HumanoidEnv"
    physics_type = HumanoidPhysics
    metadata = RENDERED | {"render_fps": 67}
