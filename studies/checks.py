"""Checks: what no single option can know, such as whether an agent can act in a world."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice, takewhile
from math import prod
from typing import Any

import gymnasium as gym

from lopgym.registry import nearest
from lopgym.schedules import Schedule, from_plain
from lopgym.studies.config import Config, CustomEnv
from lopgym.studies.faults import Fault

MOMENTS = 64  # of each schedule that are tried beforehand


def check(config: Config, allow_import: Collection[str] | None = ()) -> list[Fault]:
    """Return what is wrong between the options of a config that are each right by themselves.

    Args:
        config: a validated config.
        allow_import: packages that `env.id` may import; None allows all.
    """
    faults = [*_rollout(config), *_stem(config), *_device(config), *_import(config, allow_import)]
    return faults if any(path == ("env", "id") for path, _ in faults) else [*faults, *_world(config)]


def _rollout(config: Config) -> Iterator[Fault]:
    """A task must end where a rollout ends, or one batch would hold two tasks."""
    from lopgym.agents import agents

    options = agents[config.agent.kind].facts.get("rollout", ())
    sizes = {name: getattr(config.agent, name) for name in options} | {"n_envs": config.env.n_envs}
    rollout = prod(sizes.values())
    if remainder := config.steps_per_task % rollout:
        below = config.steps_per_task - remainder
        near = " or ".join(str(steps) for steps in (below, below + rollout) if steps)
        how = " x ".join(f"{size} {name}" for name, size in sizes.items())
        yield (
            ("steps_per_task",),
            f"{config.steps_per_task} is no multiple of a rollout, {rollout} steps ({how}); nearest: {near}",
        )


def _stem(config: Config) -> Iterator[Fault]:
    from lopgym.agents.stems import stems

    known, chosen = [entry.name for entry in stems], getattr(config.agent, "stem", None)
    if chosen is not None and chosen not in known:
        yield ("agent", "stem"), f"no stem named {chosen!r}; {nearest(chosen, known)}"


def _device(config: Config) -> Iterator[Fault]:
    """Stable-Baselines3 would train on the CPU instead, without a word."""
    import torch

    there = {"mps": int(torch.backends.mps.is_available()), "cuda": torch.cuda.device_count()}
    kind, _, index = config.device.partition(":")
    if kind in there and int(index or 0) >= there[kind]:
        yield ("device",), f"no {config.device} on this machine; `lopgym doctor` says what there is"


def _import(config: Config, allowed: Collection[str] | None) -> Iterator[Fault]:
    """Importing runs code: an id may only name packages that were allowed by hand."""
    if not isinstance(config.env, CustomEnv):
        return
    module, colon, _ = config.env.id.partition(":")
    package = module.partition(".")[0]
    if colon and allowed is not None and package not in {"gymnasium", "lopgym", *allowed}:
        yield ("env", "id"), f"{config.env.id} would import {package}; allow it with --allow-import {package}"


def _world(config: Config) -> Iterator[Fault]:
    """Build one copy of the world: only it knows its action space and what can drift in it."""
    from lopgym.studies.worlds import single_world

    try:
        world = single_world(config)
    except (gym.error.Error, ImportError, ValueError, TypeError, KeyError) as error:
        yield ("env",), str(error.args[0] if error.args else error)
        return
    yield from _actions(config, world)
    yield from _drifts(config, world)
    world.close()


def _actions(config: Config, world: gym.Env[Any, Any]) -> Iterator[Fault]:
    from lopgym.agents import agents

    able = agents[config.agent.kind].facts.get("actions")
    kind = type(world.action_space).__name__
    if able is not None and kind not in able:
        others = [a.name for a in agents if "actions" not in a.facts or kind in a.facts["actions"]]
        yield ("agent",), f"{config.agent.kind} takes {' or '.join(able)} actions, not {kind}; {_advice(others)}"


def _advice(agents: list[str]) -> str:
    return " or ".join(f"agent={name}" for name in agents) + " does" if agents else "no agent does"


def _drifts(config: Config, world: gym.Env[Any, Any]) -> Iterator[Fault]:
    """Visit the moments at which the drift changes: a value may be out of the bounds of what it drives."""
    for t in sorted({t for drift in (config.env.drifts or {}).values() for t in _moments(config, drift.plain())}):
        try:
            world.reset(options={"clock": t})
        except ValueError as error:
            yield ("env", "drifts"), f"at step {t}: {error}"
            return


def _moments(config: Config, drift: dict[str, Any]) -> list[int]:
    """Return the first steps of the pieces of a schedule, or steps all along one that has none."""
    schedule, total = from_plain(drift), config.tasks * config.steps_per_task
    if schedule.smooth:
        return list(range(0, total, max(1, total // MOMENTS)))
    return list(islice(takewhile(lambda t: t < total, _pieces(schedule)), MOMENTS))


def _pieces(schedule: Schedule) -> Iterator[int]:
    t: int | None = 0
    while t is not None:
        yield t
        t = schedule.next_change(t)
