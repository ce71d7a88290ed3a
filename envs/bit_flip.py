"""Bit flip: predict what a fixed network of threshold units says, while its slow inputs flip one by one."""

from __future__ import annotations

from typing import Annotated, Any

import gymnasium as gym
import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from lopgym.bounds import Fraction, PositiveInt
from lopgym.envs import environments
from lopgym.envs.bit_stream import BatchedBits


@environments.register("bit_flip", id="BitFlip-v0", drifts={"flips": {"kind": "count", "period": 10_000}})
class BatchedBitFlip(BatchedBits):
    """Predict the output of a fixed random network while its slow inputs flip, one at a time.

    ## Description
    The bit-flipping stream of Dohare et al. 2024 ("Loss of plasticity in deep continual learning",
    doi:10.1038/s41586-024-07711-7, methods) as an environment of one-step episodes. An input has m bits: f slow ones
    and m - f fast ones, drawn anew for every input. At every flip one slow bit, chosen at random, changes. The target
    has one layer of linear threshold units with weights -1 and 1, and never changes: a learner with few units has to
    track its best fit to the present slow bits. A unit fires if more than a share `beta` of its m + 1 inputs (the last
    is always 1) are as its weights want them: if w x > (m + 1) `beta` - S, with S the number of its negative weights.

    ## Action Space
    `Box(-1, 1, (1,), float32)`: the prediction, in units of the square root of `units`; what is outside is clipped.

    ## Observation Space
    `Box(0, 1, (bits,), float32)`: the bits, slow ones first.

    ## Rewards
    Minus the squared error of the prediction, in the units of the target, a whole number: the number of firing units
    with outgoing weight 1 minus that with -1, clipped to the square root of `units`. The optimum is 0.

    ## Starting State
    An input; so is the one that is seen when the episode has ended.

    ## Episode End
    Termination after every step.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `flips` | flips | `count`, `period` 10 000 |
    | `target` | index | none |

    The slow bits are a function of `world_seed` and `flips`, the target of `world_seed` and `target`. A flip is seen in
    the next input; an answer is always judged by the input that was seen.

    ## Arguments
    `bits` (20, at most 64): m. `slow_bits` (15): f. `units` (100): threshold units of the target. `beta` (0.7): share
    of the inputs above which a unit fires. `world_seed` (0): target and flips. None of them can change at run time.

    ## Version History
    * v0: first version.
    """

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        *,
        bits: Annotated[int, Interval(ge=1, le=64)] = 20,
        slow_bits: PositiveInt = 15,
        units: PositiveInt = 100,
        beta: Fraction = 0.7,
        world_seed: int = 0,
    ) -> None:
        """Draw the target and where the slow bits start."""
        self._reach = float(np.sqrt(units))
        action = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        super().__init__(
            num_envs,
            render_mode,
            action,
            bits=bits,
            slow_bits=slow_bits,
            units=units,
            beta=beta,
            world_seed=world_seed,
        )

    def _draw_outgoing(self, rng: np.random.Generator) -> NDArray[np.float64]:
        return rng.choice([-1.0, 1.0], size=(self._units, 1))

    def _reward(self, actions: NDArray[Any]) -> NDArray[np.float64]:
        predicted = self._reach * np.clip(actions[:, 0].astype(np.float64), -1.0, 1.0)
        wanted = np.clip(self._outputs()[:, 0], -self._reach, self._reach)
        return -np.square(predicted - wanted)
