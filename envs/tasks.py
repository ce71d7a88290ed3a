"""Tasks of a sequence: a registered environment each, with the keyword arguments that it is made with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import EzPickle

from lopgym.envs.borrowed import Borrowed
from lopgym.envs.layers import stack
from lopgym.registry import nearest

Named = str | tuple[str, Mapping[str, Any]]
"""An id of Gymnasium's, or one and the keyword arguments of `gymnasium.make`, as JSON knows them."""


@dataclass(frozen=True)
class Task:
    """An environment that can be made again and again.

    Attributes:
        id: as `gymnasium.make` takes it.
        options: its keyword arguments.
    """

    id: str
    options: Mapping[str, Any]

    def __str__(self) -> str:
        """Return what it is called in messages."""
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.id} with {options}" if options else self.id

    def make(self, render_mode: str | None = None) -> gym.Env[Any, Any]:
        """Make one.

        Raises:
            gymnasium.error.DependencyNotInstalled: it needs an extra; the message says how to install it.
            ValueError: it cannot be made so.
        """
        try:
            made: gym.Env[Any, Any] = gym.make(
                self.id, **{**self.options, "render_mode": render_mode, "disable_env_checker": True}
            )
        except gym.error.DependencyNotInstalled as error:
            raise gym.error.DependencyNotInstalled(self._refusal(error)) from error
        except Exception as error:
            raise ValueError(self._refusal(error)) from error
        return made

    def spaces(self) -> tuple[gym.Space[Any], gym.Space[Any]]:
        """Return those of observations and actions."""
        env = self.make()
        env.close()
        return env.observation_space, env.action_space

    def picture_size(self) -> tuple[int, int]:
        """Return height and width of its pictures."""
        env = self.make("rgb_array")
        env.reset(seed=0)
        height, width, _ = np.shape(env.render())  # type: ignore[arg-type]  # an array, in this mode
        env.close()
        return height, width

    def _refusal(self, error: Exception) -> str:
        return f"ids: {self} cannot be made: {one_line(error)}"


def as_tasks(ids: Sequence[Named]) -> tuple[Task, ...]:
    """Return the tasks that are named so.

    Raises:
        ValueError: there is none, one is not registered, or what came names none.
    """
    if not ids:
        raise ValueError(f"ids={ids!r} must be a list of at least one registered environment")
    return tuple(_as_task(named) for named in ids)


def begins_anew(env: gym.Env[Any, Any]) -> bool:
    """Whether a copy of `env` is made from its arguments and does not go on, as those of Gymnasium's EzPickle are."""
    for layer in stack(env):
        if isinstance(layer, Borrowed):  # these take a copy to where the original is
            return False
        if getattr(type(layer), "__getstate__", None) is EzPickle.__getstate__:
            return True
    return False


def one_line(told: Any) -> str:
    """Return a text without its line breaks: spaces and errors of others can have some."""
    return " ".join(str(told).split())


def _as_task(named: Any) -> Task:
    id, options = (named, {}) if isinstance(named, str) else _pair(named)
    if ":" not in id and id not in gym.registry:  # `module:id` registers itself when it is made
        raise ValueError(f"ids: no environment {id!r} is registered; {nearest(id, gym.registry)}")
    try:
        json.dumps(options)
    except TypeError as error:
        raise ValueError(f"ids: the options of {id} must be plain data, as JSON knows it: {error}") from None
    return Task(id, options)


def _pair(named: Any) -> tuple[str, dict[str, Any]]:
    """Return the parts of what is no id alone: JSON makes a list of a pair."""
    match named:
        case [str(id), Mapping() as options]:
            return id, dict(options)
    raise ValueError(f"ids: {named!r} must be an id, or a pair of an id and its keyword arguments")
