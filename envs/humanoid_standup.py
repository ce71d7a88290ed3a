"""HumanoidStandup, the humanoid that lies on the ground, and whose physics drifts."""

from __future__ import annotations

from lopgym.envs import environments
from lopgym.envs.humanoid import HumanoidPhysics
from lopgym.envs.mujoco_body import RENDERED, MuJoCoBody


@environments.register(
    "humanoid_standup",
    id="HumanoidStandup-v0",
    max_episode_steps=1000,
    drifts={"gravity": {"kind": "cycle", "values": [9.81, 7.0], "period": 1_000_000}},
)
class HumanoidStandup(MuJoCoBody):
    """Get up from the ground while gravity, masses, sizes, friction, damping or motors change.

    ## Description
    Gymnasium's HumanoidStandup-v5, bit for bit as long as nothing has moved, with physics that can drift.

    ## Action Space
    `Box(-0.4, 0.4, (17,), float32)`: the torque of each joint, as a part of what its motor can give.

    ## Observation Space
    `Box(348,)`, float64: height and attitude of the torso, angles of the joints, all velocities, then inertia,
    velocity, actuation and contact forces of every part; where it is on the plane is not seen.

    ## Rewards
    The height of the torso (m) divided by the time step of the simulation, 0.003 s, plus 1, minus 0.1 of the squared
    controls, minus 5e-7 of the squared contact forces, at most 10.

    ## Starting State
    On its back, positions and velocities uniform within 0.01 of that and of rest.

    ## Episode End
    Truncation after 1000 steps of 0.015 s.

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

    original = "gymnasium.envs.mujoco.humanoidstandup_v5:HumanoidStandupEnv"
    physics_type = HumanoidPhysics
    metadata = RENDERED | {"render_fps": 67}
