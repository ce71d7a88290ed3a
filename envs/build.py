"""The entry points of every registered id: a world, the layers that it needs, and its drift layer outside."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, VectorizeMode
from gymnasium.vector import AutoresetMode, VectorEnv

from lopgym.bounds import PositiveInt
from lopgym.declared import fitted
from lopgym.envs import environments, has_batch, whole_id
from lopgym.envs.drift_clock import Drifts
from lopgym.envs.layers import layers
from lopgym.envs.nonstationary import Apply, NonStationary, plain
from lopgym.envs.nonstationary_vector import NonStationaryVector, as_autoreset_mode
from lopgym.envs.options import as_world_seed, check_mappings, check_render_mode, checked_options
from lopgym.envs.own_clocks import Clocks
from lopgym.envs.triggered import Trigger
from lopgym.envs.window import Watched, with_window
from lopgym.envs.world import World
from lopgym.registry import Entry

_SEPARATE = ("sync", "async", VectorizeMode.SYNC, VectorizeMode.ASYNC)


class RegisteredWorld(NonStationary):
    """The outermost layer of a registered id: its spec is the id with plain arguments and hides the layers below."""

    def __init__(self, env: gym.Env[Any, Any], **drift: Any) -> None:
        """Let parameters of `env` drift; `drift` is what `NonStationary` takes."""
        super().__init__(env, **drift)
        self.metadata = with_window(env.metadata)

    @property
    def spec(self) -> EnvSpec | None:  # type: ignore[override]  # a property in Gymnasium's wrappers, too
        """The spec that makes this environment again, layers outside it excepted."""
        return _plain_spec(self.unwrapped.spec)


class WatchedWorld(Watched, RegisteredWorld):
    """The outermost layer of a registered id in render mode `human`."""


class RegisteredBatch(NonStationaryVector):
    """The outermost layer of a registered id, as a batch; its spec is the id with plain arguments."""

    @property
    def spec(self) -> EnvSpec | None:  # type: ignore[override]  # a property in Gymnasium's wrappers, too
        """The spec that makes this batch again."""
        return _plain_spec(self.unwrapped.spec)


def single(
    world: str,
    *,
    drifts: Drifts | None = None,
    world_seed: int = 0,
    stride: int = 1,
    apply: Apply = "step",
    clocks: Clocks | None = None,
    trigger: Trigger | Mapping[str, Any] | None = None,
    render_mode: str | None = None,
    **options: Any,
) -> RegisteredWorld:
    """Make one environment.

    Args:
        world: name in the registry of environments.
        drifts: see `NonStationary`; None for the documented default of the world, empty for no change at all.
        world_seed: fixes what the world is: its content and the realisation of random schedules.
        stride: what one step adds to the clock.
        apply: when a change takes effect: `step`, `reset` or `truncate`.
        clocks: by parameter, `episode`, `step` (in the episode) or `trigger`, if its schedule does not follow the life.
        trigger: when the clock `trigger` moves on; see `Trigger`.
        render_mode: `rgb_array` for the scene alone, `human` for a window with the drift below the scene, or what else
            the world knows.
        **options: the world's own arguments.

    Raises:
        KeyError: no such world.
        TypeError: an option that it does not take.
        ValueError: a value that is not allowed.
    """
    world_seed = as_world_seed(world_seed)
    entry, drifts, options = _look_up(world, drifts, options, single)
    check_render_mode(entry, render_mode)
    drawn, outermost = ("rgb_array", WatchedWorld) if render_mode == "human" else (render_mode, RegisteredWorld)
    env = _maker(entry)(drawn, **_world_options(entry, options, world_seed))
    for layer in _layers(entry, drifts):
        env = layer.make(env, **_if_taken(layer.make, world_seed))
    return outermost(
        env, drifts=drifts, stride=stride, apply=apply, world_seed=world_seed, clocks=clocks, trigger=trigger
    )


def batched(
    num_envs: int = 1,
    *,
    world: str,
    drifts: Drifts | None = None,
    world_seed: int = 0,
    apply: Apply = "step",
    clocks: Clocks | None = None,
    trigger: Trigger | Mapping[str, Any] | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    max_episode_steps: int | None = None,
    render_mode: str | None = None,
    **options: Any,
) -> RegisteredBatch:
    """Make N copies as one native batch.

    Args:
        num_envs: N; the clock advances by N a call.
        world: name in the registry of environments.
        drifts: see `NonStationaryVector`; None for the documented default of the world, empty for no change at all.
        world_seed: fixes what the world is, for all copies.
        apply: when a change takes effect: `step`, `reset` or `truncate`.
        clocks: by parameter, `episode`, `step` (in the episode) or `trigger`, if its schedule does not follow the life.
        trigger: when the clock `trigger` moves on; see `Trigger`.
        autoreset_mode: Gymnasium's, or its name: `NextStep`, `SameStep` (Stable-Baselines3 needs it) or `Disabled`.
        max_episode_steps: time limit; None for the registered one, -1 for none.
        render_mode: `rgb_array` or None.
        **options: the world's own arguments.

    Raises:
        KeyError: no such world.
        TypeError: an option that it does not take.
        ValueError: a value that is not allowed.
    """
    num_envs, world_seed = fitted("num_envs", num_envs, PositiveInt), as_world_seed(world_seed)
    entry, drifts, options = _look_up(world, drifts, options, batched)
    if not has_batch(entry):
        raise ValueError(f"environment {world!r} has no native batch; make_vec without a mode makes separate copies")
    env = entry.make(num_envs, render_mode, **_world_options(entry, options, world_seed))
    for layer in _layers(entry, drifts):
        make = layer.facts["vector"]
        env = make(env, **_if_taken(make, world_seed))
    limit = entry.facts.get("max_episode_steps") if max_episode_steps is None else max_episode_steps
    return RegisteredBatch(
        env,
        drifts=drifts,
        apply=apply,
        world_seed=world_seed,
        clocks=clocks,
        trigger=trigger,
        autoreset_mode=autoreset_mode,
        max_episode_steps=None if limit == -1 else limit,
    )


def drifting(env: gym.Env[Any, Any], *, drifts: Drifts, world_seed: int = 0, **time: Any) -> NonStationary:
    """Make anybody's environment drift: the layers that own the drifting parameters, and the drift layer outside.

    Args:
        env: any environment; parameters of its own can drift, too, if it is `Parametric`.
        drifts: see `NonStationary`.
        world_seed: fixes permutations and the realisation of random schedules.
        **time: `stride`, `apply`, `clocks` and `trigger` of `NonStationary`.

    Raises:
        ValueError: nobody owns a parameter, or a value is out of bounds.
    """
    check_mappings(drifts=drifts)
    world_seed = as_world_seed(world_seed)
    for layer in layers:
        if drifts.keys() & {*_parameters(layer)}:
            env = layer.make(env, **_if_taken(layer.make, world_seed))
    return NonStationary(env, drifts=drifts, world_seed=world_seed, **time)


def make_vec(
    id: str,
    num_envs: int = 1,
    *,
    vectorization_mode: VectorizeMode | str | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    **kwargs: Any,
) -> VectorEnv[Any, Any, Any]:
    """`gymnasium.make_vec` for our ids that means the same world in every mode.

    Separate copies (`sync`, `async`) get `stride=num_envs`, so that their clocks count the steps of all, as that of the
    native batch (None, `vector_entry_point`) does. Copies are then equal bit for bit under SAME_STEP and DISABLED. Not
    under NEXT_STEP: in the native batch the call that resets a copy is a step of the clock and of its luck, too. Where
    the world, or a layer that owns a drifting parameter, has no native batch, None is `sync`.
    """
    num_envs = fitted("num_envs", num_envs, PositiveInt)
    autoreset = {"autoreset_mode": as_autoreset_mode(autoreset_mode).value}
    kwargs = _plain_kwargs(kwargs)
    batch = gym.spec(whole_id(id)).vector_entry_point and _fit_batches(kwargs.get("drifts") or {})
    if vectorization_mode is None and not batch:
        vectorization_mode = "sync"
    if vectorization_mode in _SEPARATE:
        kwargs["vector_kwargs"] = autoreset | kwargs.get("vector_kwargs", {})
        kwargs.setdefault("stride", num_envs)
    else:
        kwargs |= autoreset
    return gym.make_vec(id, num_envs, vectorization_mode=vectorization_mode, **kwargs)


def _fit_batches(drifts: Drifts) -> bool:
    """Whether all layers that come because of a drift go around a native batch."""
    return not any(layer.facts.get("single_only") and drifts.keys() & {*_parameters(layer)} for layer in layers)


def _look_up(
    world: str, drifts: Drifts | None, options: dict[str, Any], builder: Callable[..., Any]
) -> tuple[Entry[Any], Drifts, dict[str, Any]]:
    """Return a world, its drifts, and its options as it declares them."""
    check_mappings(drifts=drifts)
    entry = environments[world]
    return entry, entry.facts["drifts"] if drifts is None else drifts, checked_options(entry, options, builder)


def _maker(entry: Entry[Any]) -> Callable[..., Any]:
    """Return what makes one environment of a render mode and the world's own arguments."""
    if not has_batch(entry):
        return entry.make
    return entry.facts.get("single") or (lambda mode, **own: World(entry.make(1, mode, **own)))


def _layers(entry: Entry[Any], drifts: Drifts) -> list[Entry[Any]]:
    """Return the layers that belong to the world, and those that own a parameter that drifts."""
    always = entry.facts.get("wrappers", ())
    return [layer for layer in layers if layer.name in always or drifts.keys() & set(_parameters(layer))]


def _parameters(layer: Entry[Any]) -> tuple[str, ...]:
    names: tuple[str, ...] = layer.facts["vector"].physics_type.names()
    return names


def _world_options(entry: Entry[Any], options: dict[str, Any], world_seed: int) -> dict[str, Any]:
    return options | _if_taken(entry.make, world_seed)


def _if_taken(make: Callable[..., Any], world_seed: int) -> dict[str, Any]:
    return {"world_seed": world_seed} if "world_seed" in inspect.signature(make).parameters else {}


def _plain_spec(spec: EnvSpec | None) -> EnvSpec | None:
    return spec and dataclasses.replace(spec, kwargs=_plain_kwargs(spec.kwargs))


def _plain_kwargs(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return arguments of an id as JSON knows them."""
    kwargs = dict(kwargs)
    check_mappings(drifts=kwargs.get("drifts"))
    if kwargs.get("drifts") is not None:
        kwargs["drifts"] = plain(kwargs["drifts"])
    if isinstance(kwargs.get("trigger"), Trigger):
        kwargs["trigger"] = kwargs["trigger"].plain()
    if isinstance(kwargs.get("autoreset_mode"), AutoresetMode):
        kwargs["autoreset_mode"] = kwargs["autoreset_mode"].value
    return kwargs
