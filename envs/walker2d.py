"""Walker2d, a body on two legs in a plane, whose physics drifts."""

from __future__ import annotations

from lopgym.envs import environments
from lopgym.envs.mujoco_body import RENDERED, MuJoCoBody, WalkerPhysics


@environments.register(
    "walker2d",
    id="Walker2d-v0",
    max_episode_steps=1000,
    drifts={"friction_scale": {"kind": "cycle", "values": [1.0, 0.3], "period": 1_000_000}},
)
class Walker2d(MuJoCoBody):
    """Walk on two legs in a plane while gravity, masses, sizes, friction, damping or motors change.

    ## Description
    Gymnasium's Walker2d-v5, bit for bit as long as nothing has moved, with physics that can drift.

    ## Action Space
    `Box(-1, 1, (6,), float32)`: the torque of each thigh, leg and foot, as a part of what its motor can give.

    ## Observation Space
    `Box(17,)`, float64: height and angle of the torso, angles of the joints, and all velocities, each within [-10, 10];
    how far it got is not seen.

    ## Rewards
    The velocity forwards (m/s), 1 for a step in health, minus 0.001 of the squared action.

    ## Starting State
    Upright at a height of 1.25 m, positions and velocities uniform within 0.005 of that and of rest.

    ## Episode End
    Termination when the torso is below 0.8 m or above 2 m, or leans by more than 1 rad; truncation after 1000 steps of
    0.008 s.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `gravity` | m/s^2 | none |
    | `mass_scale` | 1 | none |
    | `size_scale` | 1 | none |
    | `friction_scale` | 1 | `cycle`, `values` 1.0 and 0.3, `period` 1 000 000 |
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

    original = "gymnasium.envs.mujoco.walker2d_v5:Walker2dEnv"
    physics_type = WalkerPhysics
    metadata = RENDERED | {"render_fps": 125}
