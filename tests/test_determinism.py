"""One seed, one run: whoever makes the copies, whatever steps them, and in whichever process they live."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from lopgym.agents.vec_env import GymVecEnv
from lopgym.envs.build import single
from lopgym.envs.journal import Journals
from tests.by_hand import Run, by_hand, digest, with_layers
from tests.foreign import EXACT, REMEMBERING, THEIRS, drifted
from tests.play import BATCHED, LAYERED, WORLDS, random_actions, restless, same, swaying
from tests.ways import ANY, FORKED, NATIVE, SPAWNED, told

fault = pytest.mark.fault("F13")  # a world made in another way, or after a history

# Python hashes texts anew in every process: what depends on a hash would differ here.
_FRESH = """
import json, sys
from tests.by_hand import by_hand, digest, with_layers
worlds, around = json.load(sys.stdin)
print(json.dumps([*(digest(by_hand(world)) for world in worlds), *(digest(with_layers(world)) for world in around)]))
"""

# Processes cost: the fast tests have some worlds in them, the slow ones all; spawned ones cost seconds each.
WAYS_OF_WORLDS = [
    *((world, way) for world in BATCHED for way in NATIVE),
    *((world, way) for world in WORLDS for way in ANY),
    *(pytest.param(w, way, marks=pytest.mark.slow if i % 6 else []) for i, w in enumerate(WORLDS) for way in FORKED),
    *(pytest.param(world, way, marks=pytest.mark.slow) for world in WORLDS[::6] for way in SPAWNED),
]


@cache
def _by_hand(world: str) -> Run:
    return by_hand(world)


@fault
@pytest.mark.parametrize(("world", "way"), WAYS_OF_WORLDS)
def test_every_way_tells_the_same_run(world: str, way: str) -> None:
    """Sights, rewards, ends, last sights, first sights and infos of all copies are those of environments by hand."""
    said = told(way, world)
    assert said == _by_hand(world)
    assert len({repr(own) for own in said}) == len(said)
    assert any(len(one) == 2 for one in said[0][1:])


@fault
def test_a_fresh_interpreter_tells_the_same_run(root: Path) -> None:
    """Every world, and every layer: nothing depends on the process, its hashes or what ran in it before."""
    fresh = subprocess.run(
        [sys.executable, "-c", _FRESH],
        input=json.dumps([WORLDS, LAYERED]),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        cwd=root,
        env=os.environ | {"PYTHONHASHSEED": "12345"},
    )
    runs = [*map(_by_hand, WORLDS), *map(with_layers, LAYERED)]
    assert json.loads(fresh.stdout) == [digest(run) for run in runs]


COPIES, SEED, STEPS = 3, 5, 60
Told = list[tuple[Any, ...]]  # sights as the copies begin; then sights, rewards, ends and last sights, step by step
SAME_STEP = {"autoreset_mode": AutoresetMode.SAME_STEP}
MAKERS: dict[str, Callable[[list[Callable[[], gym.Env[Any, Any]]]], VecEnv]] = {
    "sync": lambda makers: GymVecEnv(SyncVectorEnv(makers, **SAME_STEP)),
    "sync, with journals": lambda makers: GymVecEnv(Journals(SyncVectorEnv(makers, **SAME_STEP))),
    "async": lambda makers: GymVecEnv(AsyncVectorEnv(makers, **SAME_STEP, context="fork")),
    "DummyVecEnv": lambda makers: DummyVecEnv(makers),
    "SubprocVecEnv": lambda makers: SubprocVecEnv(makers, start_method="fork"),
}


def _acted(env: gym.Env[Any, Any]) -> list[Any]:
    rng = np.random.default_rng(0)
    return [random_actions(env.action_space, rng, COPIES) for _ in range(STEPS)]


def _told_by_copies(id: str) -> tuple[Told, list[Any]]:
    """Step and reset each copy by hand; return what they say, and what they did."""
    copies = [drifted(id, stride=COPIES) for _ in range(COPIES)]
    actions, seen = _acted(copies[0]), np.stack([env.reset(seed=SEED + i)[0] for i, env in enumerate(copies)])
    said: Told = [(seen,)]
    for action in actions:
        steps = [env.step(one) for env, one in zip(copies, action, strict=True)]
        over = np.array([step[2] or step[3] for step in steps])
        ends = [np.asarray(steps[i][0]) for i in np.flatnonzero(over)]
        shown = [env.reset()[0] if done else step[0] for env, step, done in zip(copies, steps, over, strict=True)]
        said.append((np.stack(shown), np.array([step[1] for step in steps], np.float32), over, ends))
    return said, actions


def _told_by(env: VecEnv, actions: list[Any]) -> Told:
    env.seed(SEED)
    said: Told = [(env.reset(),)]
    for action in actions:
        seen, rewards, over, infos = env.step(action)
        ends = [np.asarray(infos[i]["terminal_observation"]) for i in np.flatnonzero(over)]
        said.append((seen, np.asarray(rewards, np.float32), over, ends))
    env.close()
    return said


@fault
@pytest.mark.parametrize(
    "id", [pytest.param(id, marks=[] if id == "CartPole-v1" else pytest.mark.matrix) for id in EXACT]
)
def test_every_way_of_copying_anybodys_tells_the_same_run(id: str) -> None:
    """Five ways beside copies by hand: what they show, earn, and show last."""
    by_copies, actions = _told_by_copies(id)
    makers = [partial(drifted, id, stride=COPIES)] * COPIES
    for way, make in MAKERS.items():
        assert same(_told_by(make(makers), actions), by_copies), way


SEEDS, LENGTH = range(10), 120


def _life(env: gym.Env[Any, Any], seed: int) -> list[Any]:
    """Return what a life of some steps shows and earns, over further episodes."""
    rng, said = np.random.default_rng(seed), [env.reset(seed=seed)[0]]
    for _ in range(LENGTH):
        said.append(env.step(random_actions(env.action_space, rng, 1)[0])[:4])
        if said[-1][2] or said[-1][3]:
            said.append(env.reset()[0])
    return said


def _remembered(make: Callable[[], gym.Env[Any, Any]]) -> list[int]:
    """Return the seeds that begin one life in a fresh environment, another where those before them were lived."""
    aged, apart = make(), []
    for seed in SEEDS:
        fresh = make()
        if not same(_life(fresh, seed), _life(aged, seed)):
            apart.append(seed)
        fresh.close()
    aged.close()
    return apart


def _ours(world: str) -> gym.Env[Any, Any]:
    return single(world, drifts=restless(world, 7) | swaying())


@fault
@pytest.mark.parametrize(
    "world", [pytest.param(w, marks=[] if w in ("catch", "random_mdp") else pytest.mark.slow) for w in WORLDS]
)
def test_ten_seeds_forget_all_that_was_before(world: str) -> None:
    """A fresh world and one that is as old as the seeds before it live the same life."""
    assert _remembered(partial(_ours, world)) == []


@fault
@pytest.mark.parametrize("id", [pytest.param(id, marks=pytest.mark.matrix) for id in THEIRS])
def test_ten_seeds_of_anybodys(id: str, survived: Callable[[int], None]) -> None:
    """The same of Gymnasium's own; those that are known to remember do, and do not count."""
    assert bool(_remembered(partial(drifted, id))) == (id in REMEMBERING)
    survived(int(id not in REMEMBERING))
