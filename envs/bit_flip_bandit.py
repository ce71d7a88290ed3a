"""Bit flip bandit: name the greatest output of a fixed network, while its slow inputs flip one by one."""

from __future__ import annotations

from typing import Annotated, Any

import gymnasium as gym
import numpy as np
from annotated_types import Ge, Interval
from numpy.typing import NDArray

from lopgym.bounds import Fraction, PositiveInt
from lopgym.envs import environments
from lopgym.envs.bit_stream import GRAIN, BatchedBits
from lopgym.envs.world import Mask


@environments.register("bit_flip_bandit", id="BitFlipBandit-v0", drifts={"flips": {"kind": "count", "period": 10_000}})
class BatchedBitFlipBandit(BatchedBits):
    """Name the greatest output of a fixed random network while its slow inputs flip, one at a time.

    ## Description
    `BitFlip-v0` as a contextual bandit, for agents with discrete actions: the target has one output per arm, with
    outgoing weights from N(0, 1), and the right arm is the one with the greatest output.

    ## Action Space
    `Discrete(arms)`: which output is the greatest.

    ## Observation Space
    `Box(0, 1, (bits,), float32)`: the bits, slow ones first.

    ## Rewards
    1 for the right arm, else 0; where no unit fires, every arm is right. The optimum is 1.

    ## Starting State
    An input; so is the one that is seen when the episode has ended.

    ## Episode End
    Termination after every step.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `flips` | flips | `count`, `period` 10 000 |
    | `target` | index | none |

    As in `BitFlip-v0`.

    ## Arguments
    `arms` (4, at least 2): outputs. `bits` (20, at most 64), `slow_bits` (15), `units` (100), `beta` (0.7) and
    `world_seed` (0): as in `BitFlip-v0`. None of them can change at run time.

    ## Version History
    * v0: first version.
    """

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        *,
        arms: Annotated[int, Ge(2)] = 4,
        bits: Annotated[int, Interval(ge=1, le=64)] = 20,
        slow_bits: PositiveInt = 15,
        units: PositiveInt = 100,
        beta: Fraction = 0.7,
        world_seed: int = 0,
    ) -> None:
        """Draw the target and where the slow bits start."""
        self._arms = arms
        super().__init__(
            num_envs,
            render_mode,
            gym.spaces.Discrete(arms),
            bits=bits,
            slow_bits=slow_bits,
            units=units,
            beta=beta,
            world_seed=world_seed,
        )

    def _draw_outgoing(self, rng: np.random.Generator) -> NDArray[np.float64]:
        return np.round(rng.standard_normal((self._units, self._arms)) / GRAIN) * GRAIN

    def _reward(self, actions: NDArray[Any]) -> NDArray[np.float64]:
        outputs = self._outputs()
        right: Mask = outputs[self._copies, actions] == outputs.max(axis=1)
        return right.astype(np.float64)
