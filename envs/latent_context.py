"""Latent context: one hidden number moves many parameters at once, behind an observation that does not show it."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lopgym.bounds import PositiveInt
from lopgym.envs import environments
from lopgym.envs.painting import GOOD, INK, PAPER, WARM, Image
from lopgym.envs.shared_context import ContextPhysics, quantiles
from lopgym.envs.world import BatchedWorld, Mask
from lopgym.physics import Value
from lopgym.seeding import generator

_PUSHES = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], dtype=float)  # (action, x and y)
_RANGES = {  # what the context drives, and from where to where
    "thrust": (0.02, 0.1),
    "damping": (0.05, 0.5),
    "wind_x": (-0.02, 0.02),
    "wind_y": (-0.02, 0.02),
    "goal_x": (-0.8, 0.8),
    "goal_y": (-0.8, 0.8),
}
_LOW, _HIGH = np.array(list(_RANGES.values())).T
_GRID = 41  # pixels of a picture


@environments.register(
    "latent_context",
    id="LatentContext-v0",
    max_episode_steps=100,
    drifts={"context": {"kind": "count", "period": 10_000}},
)
class BatchedLatentContext(BatchedWorld):
    """Steer to a hidden goal in a hidden wind: one latent context sets thrust, damping, wind and goal together.

    ## Description
    A point with a velocity in a square of side 2. A hidden context sets six parameters of dynamics and reward at once:
    thrust, damping, wind and goal, two numbers each for the last two. With `correlation` 1 all six say the same thing,
    so that one of them tells the rest; with 0 they are independent; how uncertain each one is does not depend on it.
    What is seen is not the state but many fixed random features of it, as a camera would show it.

    ## Action Space
    `Discrete(5)`: no push, or one along +x, -x, +y, -y.

    ## Observation Space
    `Box(-1, 1, (features,), float32)`: tanh(W s + b) of the state s = (x, y, 10 dx, 10 dy), with W and b from N(0, 1)
    by `world_seed`, the same in all contexts. The context cannot be seen.

    ## Rewards
    1 - distance to the goal / sqrt(8), the distance after the step: between 0 and 1.

    ## Starting State
    A point, uniform, at rest.

    ## Episode End
    Never by itself; truncation after 100 steps.

    ## Drift
    | parameter | unit | default drift |
    | --- | --- | --- |
    | `context` | index | `count`, `period` 10 000 |
    | `correlation` | 1 | none |

    Parameter i of context k is the quantile Phi(sqrt(c) z_k + sqrt(1 - c) e_ki) of its range, c being `correlation` and
    z and e standard normal by `world_seed` and `context`: a one-factor Gaussian copula, each parameter uniform on its
    range. A velocity v becomes (1 - damping) v + thrust * push + wind; walls stop the point. The ranges: thrust 0.02 to
    0.1, damping 0.05 to 0.5, each part of the wind -0.02 to 0.02, of the goal -0.8 to 0.8. The square is from -1 to 1,
    and a velocity is the way of one step.

    ## Arguments
    `features` (32): how many are seen. `world_seed` (0): features and contexts. Neither can change at run time.

    ## Version History
    * v0: first version.
    """

    physics_type = ContextPhysics
    kept = ("_place", "_velocity")
    context: Value
    correlation: Value

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        *,
        features: PositiveInt = 32,
        world_seed: int = 0,
    ) -> None:
        """Draw the features and the first context."""
        self._world_seed = world_seed
        rng = generator(world_seed, "features")
        self._weights, self._bias = rng.standard_normal((4, features)), rng.standard_normal(features)
        self._place, self._velocity = np.zeros((num_envs, 2)), np.zeros((num_envs, 2))
        observation = gym.spaces.Box(-1.0, 1.0, (features,), np.float32)
        super().__init__(num_envs, render_mode, observation, gym.spaces.Discrete(len(_PUSHES)))

    @property
    def hidden(self) -> dict[str, NDArray[np.float64]]:
        """What the context has set in each copy, by name, shape (N,) each: the truth, for the experimenter."""
        return {name: self._hidden[:, i].copy() for i, name in enumerate(_RANGES)}

    def _write_physics(self) -> None:
        super()._write_physics()
        places = quantiles(self._world_seed, self.context, self.correlation, len(_RANGES), self.num_envs)
        self._hidden = _LOW + (_HIGH - _LOW) * places
        self._thrust, self._damping, self._wind, self._goal = np.split(self._hidden, [1, 2, 4], axis=1)

    def _begin(self, mask: Mask) -> None:
        start = np.stack([self._stream.uniform(self.count, draw) for draw in (0, 1)], axis=1)
        self._place[mask], self._velocity[mask] = (2 * start - 1)[mask], 0.0

    def _observe(self) -> NDArray[np.float32]:
        state = np.concatenate([self._place, 10 * self._velocity], axis=1)
        # Not a matrix product: its last bit depends on the number of copies, and a copy must be what it is alone.
        mixed: NDArray[np.float64] = (state[:, :, None] * self._weights).sum(axis=1)
        return np.tanh(mixed + self._bias).astype(np.float32)

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        self._velocity = (1 - self._damping) * self._velocity + self._thrust * _PUSHES[actions] + self._wind
        free = self._place + self._velocity
        self._place = np.minimum(np.maximum(free, -1.0), 1.0)
        self._velocity = np.where(self._place == free, self._velocity, 0.0)
        away = self._place - self._goal
        distance = np.sqrt(away[:, 0] ** 2 + away[:, 1] ** 2)
        return 1 - distance / math.sqrt(8), np.zeros(self.num_envs, dtype=np.bool_)

    def _paint(self, copy: int) -> Image:
        """The point, the goal, and a line of the wind's way from the middle."""
        image = np.tile(PAPER, (_GRID, _GRID, 1))
        for share in np.linspace(0, 1, 12):
            image[_pixel(20 * share * self._wind[copy])] = WARM
        for place, colour in ((self._goal[copy], GOOD), (self._place[copy], INK)):
            row, column = _pixel(place)
            image[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = colour
        return image


def _pixel(place: NDArray[np.float64]) -> tuple[int, int]:
    """Return row and column of a point; y points up."""
    column, row = np.rint((np.array([1, -1]) * place + 1) / 2 * (_GRID - 1)).astype(int)
    return int(row), int(column)
