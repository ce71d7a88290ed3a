"""HalfCheetah, a body on two legs in a plane, whose physics drifts."""

from __future__ import annotations

from lopgym.envs import environments
from lopgym.envs.mujoco_body import RENDERED, MuJoCoBody, WalkerPhysics


@environments.register(
    "half_cheetah",
    id="HalfCheetah-v0",
    max_episode_steps=1000,
    drifts={"mass_scale": {"kind": "cycle", "values": [1.0, 2.0], "period": 1_000_000}},
)
class HalfCheetah(MuJoCoBody):
    """Run on two legs in a plane while gravity, masses, sizes, friction, damping or motors change.

    ## Description
    Gymnasium's HalfCheetah-v5, bit for bit as long as nothing has moved, with physics that can drift.

    ## Action Space
    `Box(-1, 1, (6,), float32)`: the torque of each thigh, shin and foot, as a part of what its motor can give.

    ## Observation Space
    `Box(17,)`, float64: height and angle of the torso, angles of the joints, and all velocities; how far it got is not
    seen.

    ## Rewards
    The velocity forwards (m/s) minus 0.1 of the squared action.

    ## Starting State
    Upright, positions uniform within 0.1 of it, velocities normal with a deviation of 0.1.

    ## Episode End
    Truncation after 1000 steps of 0.05 s.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `gravity` | m/s^2 | none |
    | `mass_scale` | 1 | `cycle`, `values` 1.0 and 2.0, `period` 1 000 000 |
    | `size_scale` | 1 | none |
    | `friction_scale` | 1 | none |
    | `damping_scale` | 1 | none |
    | `gear_scale` | 1 | none |

    Masses bring inertias with them; sizes are thicknesses, and bring masses and inertias with them. Friction is that of
    sliding, and of all surfaces: MuJoCo takes the greater of the two that touch. The body weighs 14 kg times
    `mass_scale` at any size. The lengths of limbs, the range and stiffness of joints and the time step cannot change at
    run time.

    ## Arguments
    None of its own.

    ## Version History
    * v0: first version.
    """

    original = "gymnasium.envs.mujoco.half_cheetah_v5:HalfCheetahEnv"
    physics_type = WalkerPhysics
    metadata = RENDERED | {"render_fps": 20}
