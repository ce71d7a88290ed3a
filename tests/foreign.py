"""Gymnasium's own environments, each of its newest version, that can be made with what is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from lopgym.envs.build import drifting

_NEEDS = {"box2d": "Box2D", "mujoco": "mujoco", "classic_control": "pygame", "toy_text": "numpy"}  # by family
_LEFT_OUT = ("Blackjack-v1", "CarRacing-v3")  # tuples, which Stable-Baselines3 does not take; drawn for each step
REMEMBERING = ("BipedalWalker-v3", "BipedalWalkerHardcore-v3")  # go on in the world of the episodes before


def _family(spec: EnvSpec) -> str:
    """Return the package of `gymnasium.envs` that has an environment; "" if it is nobody of theirs."""
    path = spec.entry_point if isinstance(spec.entry_point, str) else ""
    return path.removeprefix("gymnasium.envs.").partition(".")[0].partition(":")[0] if "gymnasium.envs" in path else ""


def _newest(spec: EnvSpec) -> bool:
    others = [one.version for one in gym.registry.values() if (one.namespace, one.name) == (spec.namespace, spec.name)]
    return spec.version == max(version or 0 for version in others)


THEIRS = [
    id
    for id, spec in gym.registry.items()
    if _family(spec) in _NEEDS and find_spec(_NEEDS[_family(spec)]) and _newest(spec)
    if spec.namespace is None and id not in _LEFT_OUT
]
EXACT = [id for id in THEIRS if id not in REMEMBERING]


def drifted(id: str, stride: int = 1) -> gym.Env[Any, Any]:
    """Make one of them, whose rewards drift."""
    drifts = {"reward_scale": {"kind": "cycle", "values": [1.0, 2.0], "period": 60}}
    drifts["reward_noise"] = {"kind": "cycle", "values": [0.0, 0.5], "period": 70}
    return drifting(gym.make(id), drifts=drifts, stride=stride)
