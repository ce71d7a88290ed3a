"""Shared context: one hidden number that sets several parameters of any environment, as correlated as one likes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from lopgym.envs.layers import owners
from lopgym.envs.snapshot import Kept, WholeState
from lopgym.envs.variants import MAX_INDEX, variants
from lopgym.physics import Parametric, Physics, Value, param
from lopgym.seeding import generator

Ranges = Mapping[str, tuple[float, float]]  # parameter -> from where to where
_normal_cdf = np.vectorize(lambda u: 0.5 * math.erfc(-u / math.sqrt(2)), otypes=[float])


@dataclass(frozen=True, eq=False)
class ContextPhysics(Physics):
    """What can drift."""

    context: int = param(0, low=0, high=MAX_INDEX, unit="index", doc="which random context")
    correlation: float = param(0.5, low=0.0, high=1.0, unit="1", doc="how much of each hidden parameter is shared")


def quantiles(world_seed: int, context: Value, correlation: Value, parameters: int, copies: int) -> NDArray[np.float64]:
    """Return where in its range each parameter is, shape (N, parameters), each uniform on (0, 1).

    A Gaussian copula with one factor: Phi(sqrt(c) z_k + sqrt(1 - c) e_ki) for parameter i in context k, c being the
    correlation, z and e standard normal, a function of `world_seed` and k. So c is the correlation of the normal
    scores of any two parameters; how uncertain each of them is does not depend on it.
    """
    draws, which = variants(context, lambda k: generator(world_seed, "context", k).standard_normal(1 + parameters))
    normal = np.broadcast_to(draws[which], (copies, 1 + parameters))
    shared = np.broadcast_to(correlation, copies)[:, None]
    places: NDArray[np.float64] = _normal_cdf(np.sqrt(shared) * normal[:, :1] + np.sqrt(1 - shared) * normal[:, 1:])
    return places


class _Driver(Kept, Parametric):
    """What the wrapper of an environment and that of a batch have in common."""

    physics_type = ContextPhysics
    context: Value
    correlation: Value

    def _drive(self, env: Any, ranges: Ranges, world_seed: int, copies: int) -> None:
        """Find who owns the parameters, try both ends of their ranges, and set them by context 0."""
        if not ranges:
            raise ValueError("ranges is empty: name at least one parameter and its range")
        self._world_seed, self._copies = world_seed, copies
        self._ranges = {name: (float(low), float(high)) for name, (low, high) in ranges.items()}
        self._driven = owners(env, self._ranges)
        for end in (0, 1):
            for name, owner in self._driven.items():
                owner.set_physics(**{name: self._ranges[name][end]})
        self.physics = ContextPhysics()
        self._write_physics()

    @property
    def hidden(self) -> dict[str, NDArray[np.float64]]:
        """What the context has set in each copy, by name, shape (N,) each: the truth, for the experimenter."""
        places = quantiles(self._world_seed, self.context, self.correlation, len(self._ranges), self._copies)
        return {name: low + (high - low) * places[:, i] for i, (name, (low, high)) in enumerate(self._ranges.items())}

    def _write_physics(self) -> None:
        super()._write_physics()
        for name, values in self.hidden.items():
            same = bool((values == values[0]).all())
            self._driven[name].set_physics(**{name: float(values[0]) if same else values})


class SharedContext(_Driver, gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Let one hidden context set several parameters of the wrapped environment at once.

    The context drifts as any parameter does: put `NonStationary` outside, with `drifts={"context": ...}`. What it sets
    should have no drift of its own there: the last to move would win.
    """

    def __init__(self, env: gym.Env[Any, Any], *, ranges: Ranges, world_seed: int = 0) -> None:
        """Set the parameters by context 0.

        Args:
            env: has, somewhere in its stack, a `Parametric` layer for every parameter.
            ranges: by parameter, from where to where it goes, low before high or the other way round, in which case it
                falls where the others rise.
            world_seed: fixes what each context means.

        Raises:
            ValueError: nobody owns a parameter, or an end of its range is out of its bounds.
        """
        RecordConstructorArgs.__init__(
            self, ranges={name: list(ends) for name, ends in ranges.items()}, world_seed=world_seed
        )
        gym.Wrapper.__init__(self, env)
        self._drive(env, ranges, world_seed, 1)


class SharedContextVector(WholeState, _Driver, gym.vector.VectorWrapper):
    """Let a hidden context, one for all copies or one each, set several parameters of a batch at once."""

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any], *, ranges: Ranges, world_seed: int = 0) -> None:
        """Set the parameters by context 0; the arguments are those of `SharedContext`.

        Raises:
            ValueError: nobody owns a parameter, or an end of its range is out of its bounds.
        """
        super().__init__(env)
        self._drive(env, ranges, world_seed, env.num_envs)
