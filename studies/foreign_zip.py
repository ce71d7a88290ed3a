"""The one door for files that run code as they are read: zips of Stable-Baselines3, opened only for who trusts them.

A zip keeps its hyperparameters as pickles, and unpickling does whatever the file's author wrote: no sandbox is around
it. So it is opened by hand, file by file, and nothing of it is unpickled before that was said.
"""

from __future__ import annotations

import inspect
import json
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode

from lopgym.agents import agents
from lopgym.agents.vec_env import GymVecEnv
from lopgym.envs.build import make_vec
from lopgym.seeding import derive
from lopgym.store import CheckpointError
from lopgym.studies.imports import refusal
from lopgym.studies.worlds import is_ours

COPIES = 8  # of the world that a zip is put into


def load_trusted(path: Path, env: str | None, *, trusted: bool, allow_import: Collection[str] | None = None) -> Any:
    """Unpickle the model of a zip, and put it into copies of the world `env`, on the CPU.

    Args:
        path: the zip.
        env: id of its world, which it does not say.
        trusted: whether somebody who may decide that said that the file may run code.
        allow_import: packages that the id of its world may import; None allows all.

    Raises:
        ValueError: it is not trusted, and nothing of it was read; or there is no such world, or it would import what
            is not allowed.
        CheckpointError: it is no zip of an algorithm that is known, which is told before anything is unpickled; or it
            could not be unpickled, or is of another world.
    """
    if not trusted:
        raise ValueError(
            f"{path}: reading a zip of Stable-Baselines3 runs any code that its author put in; "
            "if you trust it: --i-trust-this-file"
        )
    if env is None:
        raise ValueError(f"{path}: a zip does not say its world: --env ID, such as lopgym:lopgym/Catch-v0")
    if said := refusal(env, allow_import):
        raise ValueError(said)
    if not path.exists():
        raise CheckpointError(path, "does not exist")
    algorithm, world = _algorithm(path), world_of(env)
    try:
        model = algorithm.load(path, env=world, device="cpu")
    except Exception as error:  # unpickling runs other people's code, which may raise anything
        raise CheckpointError(path, f"could not be read for {env}: {first_line(error)}") from None
    model.verbose, model.tensorboard_log = 0, None
    return model


def world_of(env: str) -> GymVecEnv:
    """Make copies of a world by its id.

    Raises:
        ValueError: there is none of that id.
    """
    same = AutoresetMode.SAME_STEP
    make: Callable[..., Any] = make_vec if is_ours(env) else gym.make_vec
    foreign = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": same}}
    how = {"autoreset_mode": same} if is_ours(env) else foreign
    try:
        return GymVecEnv(make(env, COPIES, **how), seed=derive(0, "probe"))
    except (gym.error.Error, ImportError) as error:
        raise ValueError(f"--env {env}: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """Return what an error says, short and in one line."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def _algorithm(path: Path) -> Any:
    """Return the algorithm of a zip, told without unpickling: what it alone is configured by is in its data."""
    try:
        with zipfile.ZipFile(path) as parts:
            said = json.loads(parts.read("data")).keys()
    except PermissionError:
        raise  # nothing is wrong with what is in it
    except Exception:  # whatever damaged bytes make two parsers raise: there are ten kinds of it
        raise CheckpointError(path, "is damaged, or no zip of Stable-Baselines3") from None
    known = [entry.facts["algorithm"] for entry in agents]
    for algorithm in known:
        if _own_options(algorithm) <= said:
            return algorithm
    raise CheckpointError(path, f"is of none of {', '.join(sorted(a.__name__ for a in known))}")


def _own_options(algorithm: Any) -> set[str]:
    own, base = (set(inspect.signature(cls).parameters) for cls in algorithm.__mro__[:2])
    return {option for option in own - base if not option.startswith("_")}
