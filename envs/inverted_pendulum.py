"""InvertedPendulum, a pole on a cart in MuJoCo, whose physics drifts."""

from __future__ import annotations

from lopgym.envs import environments
from lopgym.envs.mujoco_body import RENDERED, MuJoCoBody, UprightPhysics


@environments.register(
    "inverted_pendulum",
    id="InvertedPendulum-v0",
    max_episode_steps=1000,
    drifts={"gravity": {"kind": "cycle", "values": [9.81, 20.0], "period": 200_000}},
)
class InvertedPendulum(MuJoCoBody):
    """Balance a pole on a cart, in MuJoCo, while gravity, masses, sizes, damping or the motor change.

    ## Description
    Gymnasium's InvertedPendulum-v5, bit for bit as long as nothing has moved, with physics that can drift. Nothing
    touches, so that there is no friction to drift.

    ## Action Space
    `Box(-3, 3, (1,), float32)`: the force on the cart, in units of 100 N.

    ## Observation Space
    `Box(4,)`, float64: position of the cart (m), angle of the pole (rad), and their velocities.

    ## Rewards
    1 for every step but the one with which an episode terminates.

    ## Starting State
    Upright in the middle, positions and velocities uniform within 0.01 of that and of rest.

    ## Episode End
    Termination when the pole leans by more than 0.2 rad; truncation after 1000 steps of 0.04 s.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `gravity` | m/s^2 | `cycle`, `values` 9.81 and 20.0, `period` 200 000 |
    | `mass_scale` | 1 | none |
    | `size_scale` | 1 | none |
    | `damping_scale` | 1 | none |
    | `gear_scale` | 1 | none |

    Masses bring inertias with them; sizes are thicknesses, and bring masses and inertias with them. The lengths of
    limbs, the range and stiffness of joints and the time step cannot change at run time.

    ## Arguments
    None of its own.

    ## Version History
    * v0: first version.
    """

    original = "gymnasium.envs.mujoco.inverted_pendulum_v5:InvertedPendulumEnv"
    physics_type = UprightPhysics
    metadata = RENDERED | {"render_fps": 25}
