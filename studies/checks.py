"""Checks: what no single option can know, such as whether an agent can act in a world."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from itertools import islice, pairwise, takewhile
from math import prod
from typing import Any

import gymnasium as gym

from lopgym.envs import environments
from lopgym.envs.drift_clock import Drifts
from lopgym.envs.journal import goes_on
from lopgym.envs.nonstationary import on_life
from lopgym.envs.own_clocks import check_clocks
from lopgym.registry import nearest
from lopgym.schedules import Schedule, from_plain
from lopgym.studies.config import Config, CustomEnv
from lopgym.studies.faults import Fault
from lopgym.studies.imports import imports
from lopgym.studies.memory import memory

FLAT = (gym.spaces.Box, gym.spaces.Discrete, gym.spaces.MultiBinary, gym.spaces.MultiDiscrete)
MOMENTS = 64  # of each schedule that are tried beforehand
FASTEST, MOST = 10.0, 10**15  # learning rate; whatever an agent counts
WIDEST, MOST_WEIGHTS = 2**16, 2**26  # units of a layer; weights of a trunk: 256 MiB, and Adam adds twice as much


def check(config: Config, allow_import: Collection[str] | None = ()) -> list[Fault]:
    """Return what is wrong between the options of a config that are each right by themselves.

    Args:
        config: a validated config.
        allow_import: packages that `env.id` may import; None allows all.
    """
    faults = [*_rollout(config), *_learning(config), *_stem(config), *_hidden(config), *_fork(config)]
    faults += [*_device(config), *_stack(config), *_rebuilt(config)]
    faults += imports(config, allow_import)
    unbuilt = any(path in (("env", "id"), ("env", "ids")) for path, _ in faults)
    return faults if unbuilt else [*faults, *(list(_clocks(config)) or _world(config))]


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


def _learning(config: Config) -> Iterator[Fault]:
    """Find numbers with which an agent would not learn, or learn from less than it was told to, and not say so."""
    agent = config.agent.model_dump()
    rate, batch = agent.get("learning_rate", 0), agent.get("batch_size", 0)
    if rate > FASTEST:
        yield ("agent", "learning_rate"), f"{rate:g} is no step size that learns anything; at most {FASTEST:g}"
    for name, value in agent.items():
        if isinstance(value, int) and value > MOST:
            yield ("agent", name), f"{value} is more than any machine can do; at most {MOST:,}"
    if batch > (kept := agent.get("buffer_size", batch)):
        yield ("agent", "batch_size"), f"{batch} transitions, but the buffer keeps {kept}"
    if batch > (rollout := agent.get("n_steps", batch) * config.env.n_envs):
        yield ("agent", "batch_size"), f"{batch} transitions, but a rollout has {rollout}"
    if batch == 1 and agent.get("normalize_advantage"):
        yield ("agent", "batch_size"), "one transition has no spread to normalise advantages by; at least 2"
    yield from _warm_up(config, agent.get("learning_starts", 0))


def _warm_up(config: Config, steps: int) -> Iterator[Fault]:
    total, each = config.tasks * config.steps_per_task, config.steps_per_task
    if steps >= total:
        yield ("agent", "learning_starts"), f"{steps} steps before the first update, but the run has {total}"
    elif steps > each and config.task_change.model_dump()["exploration"] == "restart":
        yield ("agent", "learning_starts"), f"{steps} random steps in each task, but a task has {each}"


def _stem(config: Config) -> Iterator[Fault]:
    from lopgym.agents.stems import stems

    known, chosen = [entry.name for entry in stems], getattr(config.agent, "stem", None)
    if chosen is not None and chosen not in known:
        yield ("agent", "stem"), f"no stem named {chosen!r}; {nearest(chosen, known)}"


def _hidden(config: Config) -> Iterator[Fault]:
    """What does not fit into memory is refused here; torch would tell so in a traceback, or the system kill the run."""
    hidden: tuple[int, ...] = getattr(config.agent, "hidden", ())
    weights = sum(below * above for below, above in pairwise(hidden))
    if max(hidden, default=0) > WIDEST:
        yield ("agent", "hidden"), f"a hidden layer of {max(hidden):,} units; at most {WIDEST:,}"
    elif weights > MOST_WEIGHTS:
        yield ("agent", "hidden"), f"{weights:,} weights between hidden layers; at most {MOST_WEIGHTS:,}"


def _fork(config: Config) -> Iterator[Fault]:
    """Contenders need a problem to learn; of an algorithm that nothing is known of, none can be made."""
    from lopgym.agents import agents
    from lopgym.agents.problems import SOURCES

    able = [a.name for a in agents if issubclass(a.facts["algorithm"], tuple(SOURCES))]
    if config.fork.model_dump()["every"] and config.agent.kind not in able:
        yield ("fork", "every"), f"nobody knows what {config.agent.kind} could race on; known: {', '.join(able)}"


def _stack(config: Config) -> Iterator[Fault]:
    from lopgym.agents.stacking import refusals

    for line in refusals(options.kind for options in config.mitigation.values()):
        yield ("mitigation",), line


def beyond_weights(config: Config) -> str:
    """Name the first method that keeps a part of the agent's function beside the network's weights; "" if none does."""
    from lopgym.agents.mitigations import mitigations

    kinds = (options.kind for options in config.mitigation.values())
    return next((kind for kind in kinds if mitigations[kind].facts.get("beyond_weights")), "")


def _rebuilt(config: Config) -> Iterator[Fault]:
    """Looks that put a fresh network's weights into a copy of the agent's would measure a mixture of both."""
    if kind := beyond_weights(config):
        for look in ("fork", "null_calibration"):
            if getattr(config, look).model_dump()["every"]:
                yield (look, "every"), f"{kind} adds to the network what is not in its weights: no copy could be fresh"


def _device(config: Config) -> Iterator[Fault]:
    """Stable-Baselines3 would train on the CPU instead, without a word."""
    import torch

    there = {"mps": int(torch.backends.mps.is_available()), "cuda": torch.cuda.device_count()}
    kind, _, index = config.device.partition(":")
    if kind in there and int(index or 0) >= there[kind]:
        yield ("device",), f"no {config.device} on this machine; `lopgym doctor` says what there is"


def pinned(config: Config) -> Config:
    """Return the config with the version of a world that was named without one: Gymnasium takes the newest there is."""
    if not isinstance(config.env, CustomEnv):
        return config
    module, colon, name = config.env.id.rpartition(":")
    versions = [spec for spec in gym.registry.values() if spec.version is not None and name == _versionless(spec)]
    if not versions or name in gym.registry:
        return config
    newest = max(versions, key=lambda spec: spec.version or 0)
    return config.model_copy(update={"env": config.env.model_copy(update={"id": f"{module}{colon}{newest.id}"})})


def _versionless(spec: gym.envs.registration.EnvSpec) -> str:
    return f"{spec.namespace}/{spec.name}" if spec.namespace else spec.name


def _clocks(config: Config) -> Iterator[Fault]:
    """A clock needs a parameter that drifts, and a trigger a clock."""
    from lopgym.studies.worlds import world_options

    try:
        check_clocks(config.env.clocks, world_options(config)["drifts"], config.env.trigger)
    except ValueError as error:
        yield ("env", "clocks" if config.env.clocks else "trigger"), str(error).removeprefix("clocks: ")


def _world(config: Config) -> Iterator[Fault]:
    """Build one copy of the world: only it knows its action space and what can drift in it."""
    from lopgym.studies.worlds import single_world

    try:
        with warnings.catch_warnings(action="ignore"):  # they come again when the world is built to be trained in
            world = single_world(config)
    except (gym.error.Error, ImportError, ValueError, TypeError, KeyError) as error:
        of_id = isinstance(config.env, CustomEnv) and isinstance(error, gym.error.Error | ImportError)
        yield ("env", "id") if of_id else ("env",), str(error.args[0] if error.args else error)
        return
    yield from _spaces(config, world)
    yield from _drifts(config, world)
    yield from _kept(config, world)
    world.close()


def _spaces(config: Config, world: gym.Env[Any, Any]) -> Iterator[Fault]:
    """What is seen and done must be what Stable-Baselines3 takes, this agent, and its network."""
    seen, done = world.observation_space, world.action_space
    nested = {what: space for what, space in (("observation", seen), ("action", done)) if not isinstance(space, FLAT)}
    for what, space in nested.items():
        flat = ", ".join(known.__name__ for known in FLAT)
        yield ("env",), f"the {what} space is {space}; agents take {flat}"
    if isinstance(done, gym.spaces.Box) and not done.is_bounded():
        yield ("env",), f"the action space is {done}; agents need bounds"
    if not nested:
        yield from [*_actions(config, world), *_reads(config, seen), *memory(config, world)]


def _reads(config: Config, seen: gym.Space[Any]) -> Iterator[Fault]:
    """A stem knows what it can read when it is built: here without memory, and without drawing a random number."""
    import torch
    from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
    from stable_baselines3.common.vec_env import VecTransposeImage

    from lopgym.agents.network import NetworkSpec
    from lopgym.agents.stems import stems

    chosen = getattr(config.agent, "stem", None)
    if chosen not in {entry.name for entry in stems}:
        return
    if isinstance(seen, gym.spaces.Box) and is_image_space(seen) and not is_image_space_channels_first(seen):
        seen = VecTransposeImage.transpose_space(seen)  # as Stable-Baselines3 will do with the images
    try:
        with torch.device("meta"):
            stems.build(chosen, seen, NetworkSpec())
    except ValueError as error:
        yield ("agent", "stem"), str(error)


def _actions(config: Config, world: gym.Env[Any, Any]) -> Iterator[Fault]:
    from lopgym.agents import agents

    able = agents[config.agent.kind].facts.get("actions")
    kind = type(world.action_space).__name__
    if able is not None and kind not in able:
        others = [a.name for a in agents if "actions" not in a.facts or kind in a.facts["actions"]]
        yield ("agent",), f"{config.agent.kind} takes {' or '.join(able)} actions, not {kind}; {_advice(others)}"


def _advice(agents: list[str]) -> str:
    return " or ".join(f"agent={name}" for name in agents) + " does" if agents else "no agent does"


def _kept(config: Config, world: gym.Env[Any, Any]) -> Iterator[Fault]:
    """Refuse checkpoints from which nothing could go on, before the days that they are to save."""
    if config.checkpoint.every and goes_on(world):
        spec = world.unwrapped.spec
        ours = [e.facts["id"] for e in environments if spec and getattr(e.make, "original", "") == spec.entry_point]
        instead = f", or env.id=lopgym/{ours[0]}, which has a new one in each" if ours else ""
        said = "goes on in the Box2D world of its earlier episodes, so no run in it can be resumed: checkpoint.every=0"
        yield ("checkpoint", "every"), f"{spec.id if spec else world} {said}{instead}"


def _drifts(config: Config, world: gym.Env[Any, Any]) -> Iterator[Fault]:
    """Look at the drift of the life, then at that within an episode: how far other clocks come, nobody knows yet."""
    from lopgym.studies.worlds import single_world, world_options

    if config.env.drifts is None:
        return
    drifts, clocks = world_options(config)["drifts"], config.env.clocks
    yield from _visit(world, on_life(drifts, clocks), config.tasks * config.steps_per_task, "step {}")
    within = {name: drift for name, drift in drifts.items() if clocks.get(name) == "step"}
    if within and world.spec is not None and world.spec.max_episode_steps:
        episode = single_world(config, drifts=within, clocks={}, trigger=None)
        yield from _visit(episode, within, world.spec.max_episode_steps, "step {} of an episode")
        episode.close()


def _visit(world: gym.Env[Any, Any], drifts: Drifts, total: int, when: str) -> Iterator[Fault]:
    """Visit the moments at which a drift changes: a value may be out of the bounds of what it drives."""
    for t in sorted({t for drift in drifts.values() for t in _moments(from_plain(drift), total)}):
        try:
            world.reset(options={"clock": t})
        except ValueError as error:
            yield ("env", "drifts"), f"at {when.format(t)}: {error}"
            return


def _moments(schedule: Schedule, total: int) -> list[int]:
    """Return the first steps of the pieces of a schedule, or steps all along one that has none."""
    if schedule.smooth:
        return list(range(0, total, max(1, total // MOMENTS)))
    return list(islice(takewhile(lambda t: t < total, _pieces(schedule)), MOMENTS))


def _pieces(schedule: Schedule) -> Iterator[int]:
    t: int | None = 0
    while t is not None:
        yield t
        t = schedule.next_change(t)
