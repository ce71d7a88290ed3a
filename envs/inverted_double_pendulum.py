"""InvertedDoublePendulum, two poles on a cart, whose physics drifts."""

from __future__ import annotations

from lopgym.envs import environments
from lopgym.envs.mujoco_body import RENDERED, MuJoCoBody, UprightPhysics


@environments.register(
    "inverted_double_pendulum",
    id="InvertedDoublePendulum-v0",
    max_episode_steps=1000,
    drifts={"gravity": {"kind": "cycle", "values": [9.81, 20.0], "period": 200_000}},
)
class InvertedDoublePendulum(MuJoCoBody):
    """Balance two poles, one on the other, while gravity, masses, sizes, damping or the motor change.

    ## Description
    Gymnasium's InvertedDoublePendulum-v5, bit for bit as long as nothing has moved, with physics that can drift.
    Nothing touches, so that there is no friction to drift.

    ## Action Space
    `Box(-1, 1, (1,), float32)`: the force on the cart, in units of 500 N.

    ## Observation Space
    `Box(9,)`, float64: position of the cart, sines and cosines of the angles, velocities and the force of the rail's
    end on the cart, both within [-10, 10].

    ## Rewards
    10 for a step in which the tip stays above 1 m, minus 0.01 x^2 + (y - 2)^2 with the tip at (x, y), minus 0.001 and
    0.005 of the squared angular velocities of the two poles.

    ## Starting State
    Upright in the middle, positions uniform within 0.1 of that, velocities normal with a deviation of 0.1.

    ## Episode End
    Termination when the tip is not above 1 m; truncation after 1000 steps of 0.05 s.

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

    original = "gymnasium.envs.mujoco.inverted_double_pendulum_v5:InvertedDoublePendulumEnv"
    physics_type = UprightPhysics
    metadata = RENDERED | {"render_fps": 20}
