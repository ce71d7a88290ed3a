"""Layers of an environment: the registry of those whose numbers can drift, and who owns which parameter in a stack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import gymnasium as gym

from lopgym.physics import Parametric
from lopgym.registry import Registry, nearest

layers: Registry[Any] = Registry("layer", "lopgym.envs")  # single wrappers; the fact `vector` is the one for batches


def stack(env: Any) -> Iterator[Any]:
    """Yield the layers of an environment, single or vector, from the outermost to the innermost."""
    yield env
    while isinstance(env, gym.Wrapper | gym.vector.VectorWrapper):
        env = env.env
        yield env


def owners(env: Any, names: Iterable[str]) -> dict[str, Parametric]:
    """Return the layer of `env` that owns each parameter.

    Raises:
        ValueError: no layer has a parameter of that name, two layers have it, or something drifts in there already.
    """
    found: dict[str, list[Parametric]] = {}
    for layer in stack(env):
        if getattr(layer, "drifting", ()):
            raise ValueError(f"{layer} drifts {', '.join(layer.drifting)} already: give all drifts to one layer")
        if isinstance(layer, Parametric):
            for parameter in layer.physics.names():
                found.setdefault(parameter, []).append(layer)
    return {name: _only_owner(name, found) for name in names}


def _only_owner(name: str, found: dict[str, list[Parametric]]) -> Parametric:
    if name not in found:
        raise ValueError(f"no parameter {name!r} can drift here; {nearest(name, found)}")
    first, *others = found[name]
    if others:
        both = f"{type(first).__name__} and {type(others[0]).__name__}"
        raise ValueError(f"parameter {name!r} is owned by two layers, {both}: remove one of them")
    return first
