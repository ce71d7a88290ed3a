"""The run of tests/by_hand.py, as vector environments tell it: everybody's, on separate copies or on a native batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from lopgym.agents.vec_env import GymVecEnv
from lopgym.envs.build import make_vec
from tests.by_hand import COPIES, SEED, Run, first, run_actions, run_options, step
from tests.play import id_of


def told(way: str, world: str) -> Run:
    """Let the copies tell it that are made in one of the `WAYS`."""
    env = WAYS[way](world, run_options(world))
    said: Run = _of_sb3(env, world) if isinstance(env, VecEnv) else _of_gymnasium(env, world)
    env.close()
    return said


def _of_gymnasium(env: gym.vector.VectorEnv[Any, Any, Any], world: str) -> Run:
    observation, info = env.reset(seed=SEED)
    said: Run = [[first(observation[i], _dealt(info, i))] for i in range(COPIES)]
    for actions in run_actions(world):
        observation, reward, terminated, truncated, info = env.step(actions)
        for i, own in enumerate(said):
            over = terminated[i] or truncated[i]
            last, news = (info["final_obs"][i], info["final_info"]) if over else (observation[i], info)
            own.append(step(last, reward[i], terminated[i], truncated[i], _dealt(news, i)))
            if over:
                own.append(first(observation[i], _dealt(info, i)))
    return said


def _of_sb3(env: VecEnv, world: str) -> Run:
    env.seed(SEED)
    observation: Any = env.reset()
    said: Run = [[first(observation[i], env.reset_infos[i])] for i in range(COPIES)]
    for actions in run_actions(world):
        observation, reward, over, infos = env.step(actions)
        for i, own in enumerate(said):
            last, cut = observation[i], False
            if over[i]:
                last, cut = infos[i]["terminal_observation"], infos[i]["TimeLimit.truncated"]
                _check_monitor(own, float(reward[i]), infos[i]["episode"])
            own.append(step(last, reward[i], over[i] and not cut, cut, infos[i]))
            if over[i]:
                own.append(first(observation[i], env.reset_infos[i]))
    return said


def _check_monitor(said: list[Any], last: float, episode: dict[str, Any]) -> None:
    """Hold the statistics of an episode to what was said of its steps before the last."""
    begun = max(place for place, one in enumerate(said) if len(one) == 2)
    rewards = [one[1] for one in said[begun + 1 :]] + [last]
    assert episode["l"] == len(rewards)
    assert abs(episode["r"] - sum(rewards)) < 1e-4 * (1 + sum(map(abs, rewards)))


def _dealt(info: dict[str, Any], copy: int) -> dict[str, Any]:
    """Return what the info of a vector environment says of one copy."""
    drift = {name: float(values[copy]) for name, values in info["drift"].items() if not name.startswith("_")}
    assert info["_task"][copy]
    assert info["_drift"][copy]
    assert info["_clock"][copy]
    return {"task": info["task"][copy], "clock": info["clock"][copy], "drift": drift}


def _makers(world: str, options: dict[str, Any]) -> list[Callable[[], gym.Env[Any, Any]]]:
    return [lambda: gym.make(id_of(world), stride=COPIES, **options)] * COPIES


def _monitored(world: str, options: dict[str, Any]) -> list[Callable[[], gym.Env[Any, Any]]]:
    return [lambda: Monitor(gym.make(id_of(world), stride=COPIES, **options))] * COPIES


def _unasked(world: str, options: dict[str, Any]) -> gym.vector.VectorEnv[Any, Any, Any]:
    """Make what there is, a native batch where it can be."""
    return make_vec(id_of(world), COPIES, autoreset_mode="SameStep", **options)


def _in_mode(world: str, options: dict[str, Any], mode: str) -> gym.vector.VectorEnv[Any, Any, Any]:
    return make_vec(id_of(world), COPIES, vectorization_mode=mode, autoreset_mode="SameStep", **options)


NATIVE: dict[str, Callable[[str, dict[str, Any]], Any]] = {
    "native": lambda world, options: _in_mode(world, options, "vector_entry_point"),
    "native, for Stable-Baselines3": lambda world, options: GymVecEnv(_unasked(world, options)),
}
ANY: dict[str, Callable[[str, dict[str, Any]], Any]] = {
    "unasked": _unasked,
    "sync": lambda world, options: _in_mode(world, options, "sync"),
    "DummyVecEnv": lambda world, options: DummyVecEnv(_monitored(world, options)),
}
FORKED: dict[str, Callable[[str, dict[str, Any]], Any]] = {
    "async": lambda world, options: _in_mode(world, options, "async"),
    "SubprocVecEnv": lambda world, options: SubprocVecEnv(_monitored(world, options), start_method="fork"),
}
SPAWNED: dict[str, Callable[[str, dict[str, Any]], Any]] = {
    "AsyncVectorEnv, spawned": lambda world, options: AsyncVectorEnv(
        _makers(world, options), autoreset_mode=AutoresetMode.SAME_STEP, context="spawn"
    ),
    "SubprocVecEnv, spawned": lambda world, options: SubprocVecEnv(_monitored(world, options), start_method="spawn"),
}
WAYS = NATIVE | ANY | FORKED | SPAWNED
