"""Common spaces: what holds the observations, and what means an action, in every one of several environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lopgym.envs.tasks import one_line


def common_observation(tasks: Mapping[str, spaces.Space[Any]]) -> spaces.Box:
    """Return the float32 Box (most,) of flat observations padded with zeros, bounded by the widest of all.

    Args:
        tasks: name, for messages, to the observation space.

    Raises:
        ValueError: the observations of a task have no fixed length.
    """
    for name, space in tasks.items():
        if not space.is_np_flattenable:
            told = f"the observations of {name}, {one_line(space)}"
            raise ValueError(f"{told}, have no fixed length: they cannot be padded")
    flat = [spaces.flatten_space(space) for space in tasks.values()]
    ends = [(box.low, box.high) for box in flat if isinstance(box, spaces.Box)]
    most = max(len(low) for low, _ in ends)
    low = np.min([np.pad(low, (0, most - len(low))) for low, _ in ends], axis=0)
    high = np.max([np.pad(high, (0, most - len(high))) for _, high in ends], axis=0)
    with np.errstate(over="ignore"):  # the largest float64 is infinite as a float32
        return spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)


def padded(space: spaces.Space[Any], observation: Any, length: int) -> NDArray[np.float32]:
    """Return an observation of `space` as `common_observation` has it, shape (length,)."""
    flat = np.asarray(spaces.flatten(space, observation), dtype=np.float32)
    return np.pad(flat, (0, length - len(flat)))


def common_action(tasks: Mapping[str, spaces.Space[Any]]) -> spaces.Space[Any]:
    """Return Discrete(most) for discrete actions, Box(-1, 1, (most,)) for continuous ones.

    Args:
        tasks: name, for messages, to the action space.

    Raises:
        ValueError: actions are neither all Discrete nor all in bounded Boxes.
    """
    each = list(tasks.values())
    if all(isinstance(space, spaces.Discrete) for space in each):
        return spaces.Discrete(max(int(space.n) for space in each if isinstance(space, spaces.Discrete)))
    if all(isinstance(space, spaces.Box) and space.is_bounded() for space in each):
        return spaces.Box(-1.0, 1.0, (max(map(spaces.flatdim, each)),), np.float32)
    told = ", ".join(f"{one_line(space)} of {name}" for name, space in tasks.items())
    raise ValueError(f"actions must be all Discrete or all in bounded Boxes to share a space, not {told}")


def own_action(space: spaces.Space[Any], action: Any) -> Any:
    """Return what an action of the common space means in `space`: modulo n, or scaled from [-1, 1] to the bounds."""
    if isinstance(space, spaces.Discrete):
        return int(space.start + action % space.n)
    assert isinstance(space, spaces.Box), "common_action let in nothing else"
    share = (np.asarray(action[: spaces.flatdim(space)], dtype=np.float64).reshape(space.shape) + 1) / 2
    return np.clip(space.low + (space.high - space.low) * share, space.low, space.high).astype(space.dtype)
