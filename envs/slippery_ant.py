"""SlipperyAnt, the ant on ground whose friction changes."""

from __future__ import annotations

from lopgym.envs import environments
from lopgym.envs.ant import Ant


@environments.register(
    "slippery_ant",
    id="SlipperyAnt-v0",
    max_episode_steps=1000,
    drifts={"friction_scale": {"kind": "log_uniform", "low": 0.02, "high": 2.0, "period": 2_000_000}},
)
class SlipperyAnt(Ant):
    """Run on four legs while the friction of the ground jumps between slippery and sticky.

    ## Description
    The ant of Dohare et al. 2024, Loss of plasticity in deep continual learning (Nature 632, pages 768-774,
    doi:10.1038/s41586-024-07711-7): Ant whose friction is drawn anew every 2 million steps, as likely between 0.02 and
    0.2 as between 0.2 and 2. The ant's own coefficient is 1, so that `friction_scale` is the coefficient. It is that of
    all surfaces: MuJoCo takes the greater of the two that touch, and with the ground's alone nothing below 1 would be
    felt.

    As in the paper, a change waits for the end of the episode with `apply="reset"`. Its ant was Ant-v3, which saw
    contact forces as zeros; this one is Ant-v5.

    ## Action Space
    `Box(-1, 1, (8,), float32)`: the torque of each hip and ankle, as a part of what its motor can give.

    ## Observation Space
    `Box(105,)`, float64: height and attitude of the torso, angles of the joints, all velocities, and the forces on
    every part from contacts, each within [-1, 1]; where it is on the plane is not seen, and friction is not either.

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
    | `gravity` | m/s^2 | none |
    | `mass_scale` | 1 | none |
    | `size_scale` | 1 | none |
    | `friction_scale` | 1 | `log_uniform`, `low` 0.02, `high` 2.0, `period` 2 000 000 |
    | `damping_scale` | 1 | none |
    | `gear_scale` | 1 | none |

    Masses bring inertias with them; sizes are thicknesses, and bring masses and inertias with them. The lengths of
    limbs, the range and stiffness of joints and the time step cannot change at run time.

    ## Arguments
    None of its own.

    ## Version History
    * v0: first version.
    """
