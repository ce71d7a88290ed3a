"""Put the state of a changing world on its pictures: which task, which step, and what drifts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from lopgym.envs.painting import captioned


class ShowDrift(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Write task, clock and the value of every drifting parameter in a band below the picture.

    The picture itself is untouched. Render mode `rgb_array` gives the scene alone, since agents that
    see by `render` must not be told: who films a world puts this layer around it,
    `RecordVideo(ShowDrift(gymnasium.make(id, render_mode="rgb_array")), folder)`. Only a person looks into a window, so
    `gymnasium.make(id, render_mode="human")` has the band for every id of ours; any other environment has it by
    `gymnasium.wrappers.HumanRendering(ShowDrift(env))`.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Show what the infos of `env` tell: any environment with a `NonStationary` layer, or with its keys."""
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self._words: list[str] = []

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, and remember what the step was told about."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._words = drift_in_words(info)
        return observation, reward, terminated, truncated, info

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, and remember what the next step will meet."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._words = drift_in_words(info)
        return observation, info

    def render(self) -> Any:
        """Return the picture with the band below it, shape (H', W', 3); what is no picture stays as it is."""
        frame = self.env.render()
        return captioned(frame, self._words) if isinstance(frame, np.ndarray) and self._words else frame


def drift_in_words(info: Mapping[str, Any]) -> list[str]:
    """Return what an info says about the drift, a few words each.

    >>> drift_in_words({"task": 2, "clock": 1200, "drift": {"gravity": 9.8, "goal": 3.0}})
    ['task 2', 'clock 1,200', 'gravity = 9.8', 'goal = 3']
    >>> drift_in_words({})
    []
    """
    if not {"task", "clock", "drift"} <= info.keys():
        return []
    values = [f"{name} = {_short(value)}" for name, value in info["drift"].items()]
    return [f"task {info['task']}", f"clock {info['clock']:,}", *values]


def _short(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.4g}"
