"""Playing at random, in any of our worlds."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lopgym.envs import environments


def action_space(world: str) -> gym.Space[Any]:
    """Return the action space of one copy of a registered world."""
    space: gym.Space[Any] = environments[world].make(1).single_action_space
    return space


def random_actions(space: gym.Space[Any], rng: np.random.Generator, copies: int) -> NDArray[Any]:
    """Return an action for each of N copies, shape (N, *action)."""
    if isinstance(space, gym.spaces.Discrete):
        return np.asarray(rng.integers(space.n, size=copies) + space.start)
    assert isinstance(space, gym.spaces.Box)
    return rng.uniform(space.low, space.high, size=(copies, *space.shape)).astype(space.dtype)


def hurried(world: str, period: int) -> dict[str, Any]:
    """Return the default drift of a world with another period, where there is one, and shuffling layers on top."""
    drifts = environments[world].facts["drifts"]
    own = {name: {**drift, "period": period} if "period" in drift else drift for name, drift in drifts.items()}
    shuffled = {"observation_order": {"kind": "count", "period": period}}
    if isinstance(action_space(world), gym.spaces.Discrete):
        shuffled["action_order"] = {"kind": "count", "period": period}
    return own | shuffled
