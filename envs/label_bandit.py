"""Label bandit: say the label of what you see, until the labels change."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from lopgym.bounds import PositiveInt
from lopgym.envs import environments
from lopgym.envs.painting import Image, board, rainbow
from lopgym.envs.variants import MAX_INDEX, variants
from lopgym.envs.world import BatchedWorld, Mask
from lopgym.physics import Physics, Value, param
from lopgym.seeding import generator


@dataclass(frozen=True, eq=False)
class LabelBanditPhysics(Physics):
    """What can drift."""

    labelling: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random table of labels")


@environments.register("label_bandit", id="LabelBandit-v0", drifts={"labelling": {"kind": "count", "period": 2560}})
class BatchedLabelBandit(BatchedWorld):
    """Name the label of each of 64 pictures; every so often all labels are drawn again.

    ## Description
    A contextual bandit with random labels: there is nothing to generalise, only to memorise, over and over. The
    contexts stay the same for ever, their labels change together. It is the reinforcement learning form of the
    random label memorisation in Lyle et al. 2023 (arXiv:2303.01486).

    ## Action Space
    `Discrete(labels)`: the label that the agent gives.

    ## Observation Space
    `Box(-inf, inf, (features,), float32)`: the context, one of `contexts` vectors drawn from N(0, I) by `world_seed`.

    ## Rewards
    1 if the label is right, else 0. Guessing gets 1 / `labels`, the optimum is 1.

    ## Starting State
    A context, uniform; so is the one that is seen when the episode has ended.

    ## Episode End
    Termination after every step.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `labelling` | index | `count`, `period` 2560 |

    The labels are uniform, a function of `world_seed` and `labelling`.

    ## Arguments
    `contexts` (64), `features` (16) and `labels` (4, at least 2): the sizes. `world_seed` (0): contexts and labels.
    None of them can change at run time.

    ## Version History
    * v0: first version.
    """

    physics_type = LabelBanditPhysics
    kept = ("_context",)
    labelling: Value

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        *,
        contexts: PositiveInt = 64,
        features: PositiveInt = 16,
        labels: Annotated[int, Ge(2)] = 4,
        world_seed: int = 0,
    ) -> None:
        """Draw the contexts and the first labels."""
        self._contexts, self._labels, self._world_seed = contexts, labels, world_seed
        self._vectors = generator(world_seed, "contexts").standard_normal((contexts, features), dtype=np.float32)
        self._context = np.zeros(num_envs, dtype=np.int64)
        observation = gym.spaces.Box(-np.inf, np.inf, (features,), np.float32)
        super().__init__(num_envs, render_mode, observation, gym.spaces.Discrete(labels))

    def _write_physics(self) -> None:
        super()._write_physics()
        self._tables, self._table = variants(self.labelling, self._draw_labels)

    def _draw_labels(self, labelling: int) -> NDArray[np.int64]:
        return generator(self._world_seed, "labelling", labelling).integers(self._labels, size=self._contexts)

    def _begin(self, mask: Mask) -> None:
        self._context = np.where(mask, self.integers(self._contexts), self._context)

    def _observe(self) -> NDArray[np.float32]:
        return self._vectors[self._context]

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        right = self._tables[self._table, self._context] == actions
        self._context = self.integers(self._contexts)
        return right.astype(np.float64), np.ones(self.num_envs, dtype=np.bool_)

    def _paint(self, copy: int) -> Image:
        """All contexts in the colours of their labels, pale but for the one that is seen."""
        side = math.isqrt(self._contexts - 1) + 1
        table = self._tables[self._table if self._table.ndim == 0 else self._table[copy]]
        colours = rainbow(self._labels)[table]
        pale = (255 - (255 - colours) // 4).astype(np.uint8)
        pale[self._context[copy]] = colours[self._context[copy]]
        image = board(side, side)
        image.reshape(-1, 3)[: self._contexts] = pale
        return image
