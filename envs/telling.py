"""What the agent is told of the drift, beside what it sees: the task, the values, that or by how much they changed.

Nobody tells an agent anything unless one of these wrappers stands around its world, outside the drift layer. What is
told is what was in force in the step that led to the observation, after a reset what the next step will meet. It can
come late and be wrong; the truth stays in `info`. A wrapper adds numbers to a Box of one axis, so several can stand
around each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lopgym.envs.snapshot import Kept, WholeState
from lopgym.envs.vector_info import Info
from lopgym.envs.voices import ChangeVoice, DifferenceVoice, DriftVoice, Mask, TaskIdVoice, Voice
from lopgym.envs.world import copy_seeds

_ALONE = np.ones(1, dtype=np.bool_)  # the mask of the only copy


class Telling(Kept, gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Base of the wrappers: add what a voice says to the observation."""

    kept = ("_voice",)
    voice: ClassVar[type[Voice]]

    def __init__(self, env: gym.Env[Any, Any], **arguments: Any) -> None:
        """Take the arguments of the voice.

        Raises:
            TypeError: the observation is not a Box of one axis.
            ValueError: there is nothing to tell, or an argument is not allowed.
        """
        RecordConstructorArgs.__init__(self, **arguments)
        gym.Wrapper.__init__(self, env)
        self._voice = self.voice(env, 1, **arguments)
        self.observation_space = widened(env.observation_space, self._voice)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._added(observation, info), reward, terminated, truncated, info

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; a seed begins the luck of the voice, too."""
        observation, info = self.env.reset(seed=seed, options=options)
        if seed is not None:
            self._voice.begin([seed])
        return self._added(observation, info), info

    def _added(self, observation: Any, info: Info) -> NDArray[Any]:
        drift = {name: np.array([value]) for name, value in info["drift"].items()}
        told = self._voice.hear(np.array([info["task"]]), drift, _ALONE)
        return np.concatenate([observation, told[0]], dtype=self.observation_space.dtype)


class TaskIdObservation(Telling):
    """Tell the number of the task, one-hot, modulo the number of `tasks` that the world walks through."""

    voice = TaskIdVoice

    def __init__(self, env: gym.Env[Any, Any], *, tasks: int, delay: int = 0, noise: float = 0.0) -> None:
        """Put it around an environment with a drift layer.

        Args:
            env: its observation is a Box of one axis.
            tasks: how many tasks to tell apart: as many numbers are added.
            delay: how many observations late.
            noise: probability, at every observation, of a task drawn at random.
        """
        super().__init__(env, tasks=tasks, delay=delay, noise=noise)


class ChangeFlag(Telling):
    """Tell that the task is another one than at the observation before: 1, else 0."""

    voice = ChangeVoice

    def __init__(self, env: gym.Env[Any, Any], *, delay: int = 0, noise: float = 0.0) -> None:
        """Put it around an environment with a drift layer.

        Args:
            env: its observation is a Box of one axis.
            delay: how many observations late.
            noise: probability, at every observation, of telling the opposite.
        """
        super().__init__(env, delay=delay, noise=noise)


class DriftObservation(Telling):
    """Tell the values of the parameters that drift, the context of the world: -1 at the lower bound, 1 at the upper."""

    voice = DriftVoice

    def __init__(
        self, env: gym.Env[Any, Any], *, parameters: Sequence[str] | None = None, delay: int = 0, noise: float = 0.0
    ) -> None:
        """Put it around an environment with a drift layer.

        Args:
            env: its observation is a Box of one axis.
            parameters: whose values; None for all that drift but indices, which say nothing.
            delay: how many observations late.
            noise: uniform noise of up to so much is added; what then lies outside -1 and 1 is put there.
        """
        super().__init__(env, parameters=parameters, delay=delay, noise=noise)


class DifferenceObservation(Telling):
    """Tell by how much each value is another one than at the observation before, as a part of its range."""

    voice = DifferenceVoice

    def __init__(
        self, env: gym.Env[Any, Any], *, parameters: Sequence[str] | None = None, delay: int = 0, noise: float = 0.0
    ) -> None:
        """Put it around an environment with a drift layer; the arguments are those of `DriftObservation`."""
        super().__init__(env, parameters=parameters, delay=delay, noise=noise)


class TellingVector(WholeState, Kept, gym.vector.VectorWrapper):
    """Tell every copy of a native batch what a wrapper of single environments would tell it."""

    kept = ("_voice",)

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any], wrapper: type[Telling], **arguments: Any) -> None:
        """Take a class, such as `ChangeFlag`, and its arguments.

        Raises:
            TypeError: the observation is not a Box of one axis.
            ValueError: there is nothing to tell, or an argument is not allowed.
        """
        super().__init__(env)
        defaults = wrapper.__init__.__kwdefaults__ or {}
        self._voice = wrapper.voice(env, env.num_envs, **defaults | arguments)
        self.single_observation_space = widened(env.single_observation_space, self._voice)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def step(self, actions: NDArray[Any]) -> tuple[Any, Any, Any, Any, Info]:
        """Step every copy."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        if "final_obs" in info:
            info["final_obs"] = self._added(info["final_obs"], info["final_info"], info["_final_obs"])
        everyone = np.ones(self.num_envs, dtype=np.bool_)
        return self._added(observation, info, everyone), reward, terminated, truncated, info

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, Info]:
        """Begin episodes; a seed begins the luck of the voice, too."""
        observation, info = self.env.reset(seed=seed, options=options)
        if seed is not None:
            self._voice.begin(copy_seeds(seed, self.num_envs))
        return self._added(observation, info, info["_task"]), info

    def _added(self, observation: NDArray[Any], info: Info, who: Mask) -> NDArray[Any]:
        told = self._voice.hear(info["task"], info["drift"], who)
        return np.concatenate([observation, told], axis=1, dtype=self.single_observation_space.dtype)


def widened(space: gym.Space[Any], voice: Voice) -> gym.spaces.Box:
    """Return a Box with room for what a voice says after what is seen; whole numbers become float32.

    Raises:
        TypeError: the space is not a Box of one axis.
    """
    if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
        raise TypeError(f"nothing can be added to {space}: flatten it to a Box of one axis first")
    dtype = space.dtype if space.dtype.kind == "f" else np.dtype(np.float32)
    low = np.concatenate([space.low, np.full(voice.size, voice.low)], dtype=dtype)
    high = np.concatenate([space.high, np.full(voice.size, voice.high)], dtype=dtype)
    return gym.spaces.Box(low, high, dtype=dtype.type)
