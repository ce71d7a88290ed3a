"""Playing at random, in any of our worlds."""

from __future__ import annotations

from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from numpy.typing import NDArray

from lopgym.envs import environments
from lopgym.envs.build import single
from lopgym.envs.layers import layers

LAYERED = ("cartpole", "point_mass")  # one of each kind of action: between them, every layer goes around one


def _lacking(world: str) -> str | None:
    """Return what has to be installed before a world can be made; None if nothing has."""
    try:
        single(world, drifts={}).close()
    except gym.error.DependencyNotInstalled as error:
        return str(error)
    return None


_LACKING = {entry.name: _lacking(entry.name) for entry in environments}
WORLDS = [world for world, lacking in _LACKING.items() if lacking is None]
every_world = pytest.mark.parametrize(
    "world",
    [
        pytest.param(world, marks=[] if lacking is None else pytest.mark.skip(reason=lacking))
        for world, lacking in _LACKING.items()
    ],
)


def id_of(world: str) -> str:
    """Return the id under which Gymnasium knows a world."""
    return f"lopgym/{environments[world].facts['id']}"


def has_batch(world: str) -> bool:
    """Say whether a world has a native batch."""
    return gym.spec(id_of(world)).vector_entry_point is not None


BATCHED = [world for world in WORLDS if has_batch(world)]
every_batch = pytest.mark.parametrize("world", BATCHED)


@cache
def action_space(world: str) -> gym.Space[Any]:
    """Return the action space of one copy of a registered world."""
    return single(world, drifts={}).action_space


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


def restless(world: str, period: int) -> dict[str, Any]:
    """Return `hurried` drifts, and rewards that walk at random: jumps, layers, and a random realisation."""
    walk = {"kind": "random_walk", "start": 2.0, "sd": 0.5, "low": 1.0, "high": 3.0, "period": 2}
    return hurried(world, period) | {"reward_scale": walk}


def swaying() -> dict[str, Any]:
    """Return a drift, of a layer that fits every world, that moves at every step and never jumps."""
    return {"reward_noise": {"kind": "sine", "mean": 0.5, "amplitude": 0.4, "period": 9.0}}


def layered(world: str, period: int, *, native: bool = True) -> dict[str, Any]:
    """Return drifts of every parameter of every layer that fits a world, to its default again and again.

    Some layers fit separate environments only; they are left out if the drifts are for a `native` batch, too.
    """
    inside = single(world, drifts={}).unwrapped, environments[world].make(1) if native else None
    makers = [(layer.make, layer.facts["vector"]) for layer in layers]
    fitting = [one for one, many in makers if _fits(one, inside[0]) and (not native or _fits(many, inside[1]))]
    fields = {name: field for one in fitting for name, field in one.physics_type.__dataclass_fields__.items()}
    return {
        name: {"kind": "cycle", "values": _values(field), "period": period + i % 5}  # not all at once
        for i, (name, field) in enumerate(sorted(fields.items()))
    }


def _fits(layer: Any, env: Any) -> bool:
    try:
        layer(env)
    except TypeError:
        return False
    return True


def _values(field: Any) -> list[float]:
    """Return two values of a parameter and its default; what they do can be told apart."""
    further = (4, 2) if field.type in (int, "int") else (0.8, 0.4)
    return [*(field.default + step for step in further), field.default]


def same(one: Any, other: Any) -> bool:
    """Say whether two things that environments said are equal to the last bit, in kind and in dtype."""
    return bool(data_equivalence(one, other, exact=True))
