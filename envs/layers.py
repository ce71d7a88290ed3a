"""Layers of an environment: the registry of those whose numbers can drift, and who owns which parameter in a stack.

A layer is registered as the wrapper of single environments, with two facts: `vector`, its twin for batches, and
`preserves_optimum`, whether to every policy without the layer there corresponds one with it, and back, of the same
expected return, whatever the discount. Where it does (signs, offset, scale, rotation and order of what is seen; signs
and order of what is done; noise on the reward), a fall in return is the agent's, not the world's. Where it does not,
the best that can be had has moved, too. A third fact, `single_only`, says that the twin refuses every batch.

Layers that come because their parameter drifts are put around a world in order of name, the first innermost.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import gymnasium as gym

from lopgym.physics import Parametric
from lopgym.registry import Registry, nearest

layers: Registry[Any] = Registry("layer", "lopgym.envs")


def stack(env: Any) -> Iterator[Any]:
    """Yield the layers of an environment, single or vector, from the outermost to the innermost."""
    yield env
    while isinstance(env, gym.Wrapper | gym.vector.VectorWrapper):
        env = env.env
        yield env


def need_drift(env: Any, what: str) -> None:
    """Raise ValueError unless something drifts in `env`, or could: there is nothing to do `what` about then."""
    if not any(hasattr(layer, "drifting") for layer in stack(env)):
        raise ValueError(f"{env} has no drift layer: there is nothing to {what}")


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
    for name in names:
        if name not in found:
            raise ValueError(f"no parameter {name!r} can drift here; {_instead(env, name, found)}")
    return {name: _only_owner(name, found[name]) for name in names}


def _instead(env: Any, name: str, found: Iterable[str]) -> str:
    """Say why nobody owns a parameter, or what was probably meant: one in there, or one that a layer would bring."""
    batch = getattr(env.unwrapped, "batch", None)  # of which a single environment of ours is the only copy
    for kind in map(type, (*stack(env), *[batch] * isinstance(batch, Parametric))):
        if name in inspect.signature(kind).parameters:
            return f"it is an argument of {kind.__name__}, fixed when that is made"
    brought = {parameter: layer.name for layer in layers for parameter in layer.facts["vector"].physics_type.names()}
    if name in brought:
        return f"put the layer {brought[name]!r} around the environment first, or use `lopgym.envs.build.drifting`"
    near = (nearest(name, known) for known in (found, brought))
    return next((offer for offer in near if offer.startswith("did")), nearest("", [*found, *brought]))


def _only_owner(name: str, found: list[Parametric]) -> Parametric:
    first, *others = found
    if others:
        both = f"{type(first).__name__} and {type(others[0]).__name__}"
        raise ValueError(f"parameter {name!r} is owned by two layers, {both}: remove one of them")
    return first
