"""Reacher, an arm of two links in a plane, whose physics drifts."""

from __future__ import annotations

from lopgym.envs import environments
from lopgym.envs.mujoco_body import RENDERED, DampedPhysics, MuJoCoBody


@environments.register(
    "reacher",
    id="Reacher-v0",
    max_episode_steps=50,
    drifts={"gear_scale": {"kind": "cycle", "values": [1.0, 0.5], "period": 100_000}},
)
class Reacher(MuJoCoBody):
    """Reach a random point with an arm of two links while masses, sizes, damping or motors change.

    ## Description
    Gymnasium's Reacher-v5, bit for bit as long as nothing has moved, with physics that can drift. The arm lies in a
    horizontal plane and touches nothing: gravity and friction do nothing and cannot drift.

    ## Action Space
    `Box(-1, 1, (2,), float32)`: the torque of both joints, as a part of what its motor can give.

    ## Observation Space
    `Box(10,)`, float64: cosines and sines of the angles, where the target is, the angular velocities, and the way from
    the target to the fingertip.

    ## Rewards
    Minus the distance between fingertip and target (m), minus the squared action.

    ## Starting State
    Angles uniform within 0.1 of 0, velocities within 0.005 of rest; the target uniform on a disc of 0.2 m.

    ## Episode End
    Truncation after 50 steps of 0.02 s.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `mass_scale` | 1 | none |
    | `size_scale` | 1 | none |
    | `damping_scale` | 1 | none |
    | `gear_scale` | 1 | `cycle`, `values` 1.0 and 0.5, `period` 100 000 |

    Masses bring inertias with them; sizes are thicknesses, and bring masses and inertias with them. The lengths of
    limbs, the range and stiffness of joints and the time step cannot change at run time.

    ## Arguments
    None of its own.

    ## Version History
    * v0: first version.
    """

    original = "gymnasium.envs.mujoco.reacher_v5:ReacherEnv"
    physics_type = DampedPhysics
    metadata = RENDERED | {"render_fps": 50}
