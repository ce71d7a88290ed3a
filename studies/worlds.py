"""The worlds of a config: the one to train in, and still copies of its moments to look at."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from lopgym.agents.vec_env import GymVecEnv
from lopgym.envs import environments
from lopgym.envs.build import drifting, make_vec
from lopgym.envs.drift_clock import DriftClock
from lopgym.envs.nonstationary import Apply
from lopgym.schedules import from_plain

if TYPE_CHECKING:
    from lopgym.studies.compose import Config


def training_world(config: Config) -> VecEnv:
    """Build the batch of copies that the agent trains in."""
    venv: VecEnv = GymVecEnv(vector_world(config, config.env.n_envs), seed=config.seed)
    if config.normalize.observations or config.normalize.rewards:
        gamma = config.agent.model_dump().get("gamma", 0.99)
        venv = VecNormalize(
            venv, norm_obs=config.normalize.observations, norm_reward=config.normalize.rewards, gamma=gamma
        )
    return venv


def vector_world(config: Config, num_envs: int, drifts: Mapping[str, Any] | None = None) -> gym.vector.VectorEnv:
    """Build `num_envs` copies of the config's world as one vector environment; `drifts` replaces the config's."""
    options = world_options(config) | ({} if drifts is None else {"drifts": drifts})
    id = options.pop("id")
    if is_ours(id):
        return make_vec(id, num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **options)
    copies = [partial(foreign_world, id, stride=num_envs, **options)] * num_envs
    return SyncVectorEnv(copies, autoreset_mode=AutoresetMode.SAME_STEP)


def single_world(config: Config, drifts: Mapping[str, Any] | None = None, render_mode: str | None = None) -> gym.Env:
    """Build one copy of the config's world; `drifts` replaces the config's."""
    options = world_options(config) | ({} if drifts is None else {"drifts": drifts})
    make = gym.make if is_ours(options["id"]) else foreign_world
    return make(options.pop("id"), render_mode=render_mode, **options)


def foreign_world(id: str, *, drifts: Mapping[str, Any], world_seed: int, apply: Apply, **kwargs: Any) -> gym.Env:
    """Make any registered Gymnasium id and put drift around it; see `lopgym.envs.build.drifting`."""
    stride = kwargs.pop("stride", 1)
    return drifting(gym.make(id, **kwargs), drifts=drifts, world_seed=world_seed, apply=apply, stride=stride)


def is_ours(id: str) -> bool:
    """Whether an id is one of lopgym's own, which build their drift layer themselves."""
    return id.rpartition(":")[2].startswith("lopgym/")


def world_options(config: Config) -> dict[str, Any]:
    """Return the id and the keyword arguments that make the config's world."""
    options = config.env.model_dump(exclude={"n_envs"})
    kind = options.pop("kind")
    if kind == "custom":
        options |= options.pop("kwargs")
    else:
        options["id"] = f"lopgym/{environments[kind].facts['id']}"
        if options["drifts"] is None:
            options["drifts"] = environments[kind].facts["drifts"]
    if options.get("world_seed") is None:
        options["world_seed"] = config.seed
    options["drifts"] = options["drifts"] or {}
    return options


def still_world(config: Config, t: int) -> dict[str, float]:
    """Return the drifts that hold the world as it is at step t, for ever: a number for each drifting parameter."""
    options = world_options(config)
    schedules = {name: from_plain(schedule) for name, schedule in options["drifts"].items()}
    clock = DriftClock(schedules, options["world_seed"])
    clock.seek(t)
    return dict(clock.values)
