"""Ant, a body on four legs, whose physics drifts."""

from __future__ import annotations

from lopgym.envs import environments
from lopgym.envs.mujoco_body import RENDERED, MuJoCoBody, WalkerPhysics


@environments.register(
    "ant",
    id="Ant-v0",
    max_episode_steps=1000,
    drifts={"gravity": {"kind": "cycle", "values": [9.81, 5.0], "period": 1_000_000}},
)
class Ant(MuJoCoBody):
    """Run on four legs while gravity, masses, sizes, friction, damping or motors change.

    ## Description
    Gymnasium's Ant-v5, bit for bit as long as nothing has moved, with physics that can drift.

    ## Action Space
    `Box(-1, 1, (8,), float32)`: the torque of each hip and ankle, as a part of what its motor can give.

    ## Observation Space
    `Box(105,)`, float64: height and attitude of the torso, angles of the joints, all velocities, and the forces on
    every part from contacts, each within [-1, 1]; where it is on the plane is not seen.

    ## Rewards
    The velocity forwards (m/s), 1 for a step in health, minus 0.5 of the squared action, minus 0.0005 of the squared
    contact forces that are seen.

    ## Starting State
    Upright at a height of 0.75 m, positions uniform within 0.1 of it, velocities normal with a deviation of 0.1.

    ## Episode End
    Termination when the torso is below 0.2 m or above 1 m; truncation after 1000 steps of 0.05 s.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `gravity` | m/s^2 | `cycle`, `values` 9.81 and 5.0, `period` 1 000 000 |
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

    original = "gymnasium.envs.mujoco.ant_v5:AntEnv"
    physics_type = WalkerPhysics
    metadata = RENDERED | {"render_fps": 20}
