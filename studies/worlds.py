"""The worlds of a config: the one to train in, and still copies of its moments to look at."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from lopgym.agents.finite_guard import FiniteGuard
from lopgym.agents.vec_env import GymVecEnv
from lopgym.envs import environments, whole_id
from lopgym.envs.build import drifting, make_vec
from lopgym.envs.drift_clock import DriftClock, Drifts
from lopgym.envs.journal import resumable
from lopgym.envs.nonstationary import on_life
from lopgym.studies.moments import Moment

if TYPE_CHECKING:
    from lopgym.studies.compose import Config

_GOES_ON = ("episode", "step")  # clocks that run in a still world, too


def training_world(config: Config) -> VecEnv:
    """Build the batch of copies that the agent trains in, guarded under the statistics that are kept of it."""
    copies = GymVecEnv(resumable(vector_world(config, config.env.n_envs)), seed=config.seed)
    venv: VecEnv = FiniteGuard(copies, limit=config.guard.limit, world=world_options(config)["id"])
    if config.normalize.observations or config.normalize.rewards:
        gamma = config.agent.model_dump().get("gamma", 0.99)
        venv = VecNormalize(
            venv, norm_obs=config.normalize.observations, norm_reward=config.normalize.rewards, gamma=gamma
        )
    return venv


def vector_world(config: Config, num_envs: int, **changes: Any) -> gym.vector.VectorEnv:
    """Build `num_envs` copies of the config's world as one vector environment; `changes` replace its options."""
    options = world_options(config) | changes
    id = options.pop("id")
    if is_ours(id):
        return make_vec(id, num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **options)
    copies = [partial(foreign_world, id, stride=num_envs, **options)] * num_envs
    return SyncVectorEnv(copies, autoreset_mode=AutoresetMode.SAME_STEP)


def single_world(config: Config, **changes: Any) -> gym.Env:
    """Build one copy of the config's world; `changes` replace its options."""
    options = world_options(config) | changes
    make = gym.make if is_ours(options["id"]) else foreign_world
    return make(options.pop("id"), **options)


def foreign_world(
    id: str, *, drifts: Drifts, world_seed: int, apply: str, clocks: Any, trigger: Any, stride: int = 1, **kwargs: Any
) -> gym.Env:
    """Make any registered Gymnasium id and put drift around it; see `lopgym.envs.build.drifting`."""
    time = {"apply": apply, "clocks": clocks, "trigger": trigger, "stride": stride}
    return drifting(_made(id, kwargs), drifts=drifts, world_seed=world_seed, **time)


def _made(id: str, options: dict[str, Any]) -> gym.Env:
    try:
        return gym.make(id, **options)
    except ModuleNotFoundError as error:
        missing = str(error).partition(". ")[0]
        raise gym.error.UnregisteredEnv(f"{id}: {missing}; one in this folder is found with --allow-import") from error


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
    if is_ours(options["id"]):
        options["id"] = whole_id(options["id"])
    if options["drifts"] is None:
        options["drifts"] = _documented_drifts().get(options["id"], {})
    if options.get("world_seed") is None:
        options["world_seed"] = config.seed
    return options


def still_world(config: Config, task: int, moment: Moment) -> dict[str, Any]:
    """Return the options that hold the world as it is in a task, for ever.

    What follows the life has the value of the first step of the task, what follows the trigger the one of the moment,
    which nothing moves any more. Steps and episodes go on: they are the world of an evaluation as of training.
    """
    options = world_options(config)
    drifts, clocks = options["drifts"], options["clocks"]
    life = DriftClock(on_life(drifts, clocks), options["world_seed"])
    life.seek(task * config.steps_per_task)
    going_on = {name: clock for name, clock in clocks.items() if clock in _GOES_ON}
    held = {name: moment.drift[name] for name, clock in clocks.items() if clock == "trigger"}
    return {"drifts": {**drifts, **life.values, **held}, "clocks": going_on, "trigger": None}


def _documented_drifts() -> dict[str, Drifts]:
    """Return what changes in our worlds unless told otherwise, by id; in others nothing does."""
    return {f"lopgym/{entry.facts['id']}": entry.facts["drifts"] for entry in environments}
