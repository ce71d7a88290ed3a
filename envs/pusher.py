"""Pusher, an arm of seven joints that pushes a cylinder, whose physics drifts."""

from __future__ import annotations

from lopgym.envs import environments
from lopgym.envs.mujoco_body import RENDERED, DampedPhysics, MuJoCoBody


@environments.register(
    "pusher",
    id="Pusher-v0",
    max_episode_steps=100,
    drifts={"damping_scale": {"kind": "cycle", "values": [1.0, 3.0], "period": 200_000}},
)
class Pusher(MuJoCoBody):
    """Push a cylinder to a goal with an arm of seven joints while masses, sizes, damping or motors change.

    ## Description
    Gymnasium's Pusher-v5, bit for bit as long as nothing has moved, with physics that can drift. There is no gravity in
    it, and contacts are frictionless: neither can drift.

    ## Action Space
    `Box(-2, 2, (7,), float32)`: the torque of each joint.

    ## Observation Space
    `Box(23,)`, float64: angles and angular velocities of the joints, and where fingertips, cylinder and goal are.

    ## Rewards
    Minus the distance from cylinder to goal, minus 0.5 of that from fingertips to cylinder (m), minus 0.1 of the
    squared action.

    ## Starting State
    The arm always in the same place, velocities uniform within 0.005 of rest; the cylinder uniform on a rectangle, at
    least 0.17 m from the goal.

    ## Episode End
    Truncation after 100 steps of 0.05 s.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `mass_scale` | 1 | none |
    | `size_scale` | 1 | none |
    | `damping_scale` | 1 | `cycle`, `values` 1.0 and 3.0, `period` 200 000 |
    | `gear_scale` | 1 | none |

    Masses bring inertias with them; sizes are thicknesses, and bring masses and inertias with them. The lengths of
    limbs, the range and stiffness of joints and the time step cannot change at run time.

    ## Arguments
    None of its own.

    ## Version History
    * v0: first version.
    """

    original = "gymnasium.envs.mujoco.pusher_v5:PusherEnv"
    physics_type = DampedPhysics
    metadata = RENDERED | {"render_fps": 20}
