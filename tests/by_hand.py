"""One run of N copies of a world, as separate environments that are stepped and reset by hand tell it."""

from __future__ import annotations

import hashlib
from typing import Any

import gymnasium as gym
import numpy as np

from tests.play import action_space, id_of, layered, random_actions, restless, swaying

COPIES, SEED, STEPS, LIMIT = 3, 5, 24, 5  # Catch ends by itself in the step in which its time is up
Run = list[list[Any]]  # by copy, what it says: (seen, news) where it begins, (seen, reward, over, cut, news) at a step


def by_hand(world: str, **options: Any) -> Run:
    """Step each environment, and reset it when its episode is over; `options` are those of the id."""
    return [_alone(world, copy, run_options(world) | options) for copy in range(COPIES)]


def with_layers(world: str) -> Run:
    """Let every parameter of every layer that fits around the world move, too."""
    return by_hand(world, drifts=layered(world, 4, native=False))


def digest(run: Run) -> str:
    """Return a hash of a run."""
    return hashlib.sha256(repr(run).encode()).hexdigest()


def run_options(world: str) -> dict[str, Any]:
    """Return what the id is made with: everything moves, episodes are short."""
    return {"drifts": restless(world, 6) | swaying(), "world_seed": 7, "max_episode_steps": LIMIT}


def run_actions(world: str) -> list[Any]:
    """Return what all copies do, T arrays of shape (N, *action)."""
    rng, space = np.random.default_rng(0), action_space(world)
    return [random_actions(space, rng, COPIES) for _ in range(STEPS)]


def first(observation: Any, info: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a copy says where an episode begins."""
    return _bits(observation), _news(info)


def step(observation: Any, reward: Any, terminated: Any, truncated: Any, info: dict[str, Any]) -> tuple[Any, ...]:
    """Return what all ways say of a step: rewards as single floats, no truncation where there is a termination."""
    over, cut = bool(terminated or truncated), bool(truncated and not terminated)
    return _bits(observation), float(np.float32(reward)), over, cut, _news(info)


def _alone(world: str, copy: int, options: dict[str, Any]) -> list[Any]:
    env = gym.make(id_of(world), stride=COPIES, **options)
    observation, info = env.reset(seed=SEED + copy)
    said: list[Any] = [first(observation, info)]
    for actions in run_actions(world):
        observation, reward, terminated, truncated, info = env.step(actions[copy])
        said.append(step(observation, reward, terminated, truncated, info))
        if terminated or truncated:
            said.append(first(*env.reset()))
    env.close()
    return said


def _bits(observation: Any) -> tuple[str, bytes]:
    return str(np.asarray(observation).dtype), np.asarray(observation).tobytes()


def _news(info: dict[str, Any]) -> dict[str, Any]:
    return {"task": int(info["task"]), "clock": int(info["clock"]), "drift": dict(sorted(info["drift"].items()))}
