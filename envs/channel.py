"""Channels: what comes between an environment and its agent, written once for N copies and carried by two wrappers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from lopgym.envs.snapshot import Kept, WholeState
from lopgym.envs.variants import variants
from lopgym.envs.world import Mask, copy_seeds, reset_mask
from lopgym.physics import Parametric, Value
from lopgym.seeding import generator

ONE = np.ones(1, dtype=np.bool_)  # the mask of the only copy
ONE.flags.writeable = False


_ARRAYS = (gym.spaces.Box, gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary)


class Channel(Kept, Parametric):
    """One way of changing what passes between N copies of an environment and the agent.

    A subclass says once, for arrays of N, what happens; a wrapper for single environments (N = 1) and one for batches
    carry it, so both do the same to the last bit. The first parameter is the strength of the channel: where it has its
    default, nothing is touched, not even by a multiplication by 1. What it remembers is named in `kept`.
    """

    rests_at_default: ClassVar[bool] = True  # False: the default is one of many variants, none of them neutral

    def _open(self, observation: gym.Space[Any], action: gym.Space[Any], copies: int) -> None:
        """Stand before `copies` copies of an environment with these single spaces, every parameter at its default."""
        self._copies, self._seen, self._acted = copies, observation, action
        self._fit()
        self.physics = self.physics_type()
        self._write_physics()

    def _arguments(self) -> dict[str, Any]:
        """Return what the wrapper was made with, beside its environment."""
        return {}

    def _fit(self) -> None:
        """Refuse spaces in which the channel means nothing; prepare for those in which it does."""

    def _begin(self, mask: Mask, seeds: Sequence[int | None]) -> None:
        """Forget the episodes of the masked copies; start the luck of those with a seed anew."""

    def _write_physics(self) -> None:
        super()._write_physics()
        strength = self.physics.names()[0]
        default = self.physics_type.__dataclass_fields__[strength].default
        self._resting = np.asarray(getattr(self, strength) == default) & self.rests_at_default
        self._idle, self._some_rest = bool(self._resting.all()), bool(self._resting.any())

    def _kept(self, before: NDArray[Any], after: NDArray[Any]) -> NDArray[Any]:
        """Return what came in where a copy rests, else what was made of it, shape (N, ...) each."""
        return np.where(self._resting.reshape(-1, *(1,) * (before.ndim - 1)), before, after)


class Numbered(Channel):
    """A channel with random variants: the number and `world_seed` fix one, whatever the luck of the copies."""

    def __init__(self, env: Any, *, world_seed: int = 0) -> None:
        """Start with every parameter at its default; `world_seed` and a number fix a variant.

        Raises:
            TypeError: the channel means nothing in the spaces of `env`.
        """
        self._world_seed = world_seed
        self._latest: dict[str, tuple[Value, NDArray[Any]]] = {}
        super().__init__(env)  # type: ignore[call-arg]  # the wrapper's, next in line

    def _arguments(self) -> dict[str, Any]:
        return {"world_seed": self._world_seed}

    def _drawn(self, name: str, make: Callable[[np.random.Generator], NDArray[Any]]) -> NDArray[Any]:
        """Return the variants, of shape S, that parameter `name` numbers: S, or (N, *S) where copies differ."""
        numbers: Value = getattr(self, name)
        if name not in self._latest or not np.array_equal(self._latest[name][0], numbers):
            used, rows = variants(numbers, lambda k: make(generator(self._world_seed, name, k)))
            self._latest[name] = numbers, used[rows]
        return self._latest[name][1]


class SingleLayer(Channel, gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """The wrapper of a single environment that carries a channel."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Start with every parameter at its default.

        Raises:
            TypeError: the channel means nothing in the spaces of `env`.
        """
        RecordConstructorArgs.__init__(self, **self._arguments())
        gym.Wrapper.__init__(self, env)
        self._open(env.observation_space, env.action_space, 1)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._begin(ONE, [seed])
        return observation, info


class VectorLayer(WholeState, Channel, gym.vector.VectorWrapper):
    """The wrapper of a batch that carries a channel; the drift layer outside resets the copies that have ended."""

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any]) -> None:
        """Start with every parameter at its default.

        Raises:
            TypeError: the channel means nothing in the spaces of `env`.
            ValueError: `env` resets by itself, so that the last observations of episodes would pass by unseen.
        """
        if env.metadata.get("autoreset_mode") is not AutoresetMode.DISABLED:
            raise ValueError(f"{env} resets by itself; {type(self).__name__} needs autoreset mode Disabled below it")
        super().__init__(env)
        self._open(env.single_observation_space, env.single_action_space, env.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin episodes, of all copies or of `options["reset_mask"]`."""
        mask = reset_mask(options, self._copies)  # first: Gymnasium's batches take it out of the options
        observation, info = self.env.reset(seed=seed, options=options)
        self._begin(mask, copy_seeds(seed, self._copies))
        return observation, info


def arrays(space: gym.Space[Any]) -> gym.Space[Any]:
    """Return the space if what is in it are numbers or arrays.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(space, _ARRAYS):
        raise TypeError(f"what is in {space} cannot be kept: only Box, Discrete, MultiDiscrete and MultiBinary can")
    return space


def column(value: Value) -> NDArray[Any]:
    """Return a parameter so that it goes with arrays (N, D): shape (1, 1), or (N, 1) where copies differ."""
    return np.reshape(value, (-1, 1))
