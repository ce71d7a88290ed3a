"""Worlds, and what changes in them."""

if __name__ != "lopgym.envs":
    raise ImportError(f"this folder is the package lopgym.envs: write `import lopgym.envs`, not `import {__name__}`")

import inspect
from typing import Any

import gymnasium as gym

from lopgym.registry import Entry, Registry

environments: Registry[Any] = Registry("environment", __name__)


def has_batch(entry: Entry[Any]) -> bool:
    """Whether a world has a native batch: what is registered makes one, unless it is the class of a single one."""
    return not (inspect.isclass(entry.make) and issubclass(entry.make, gym.Env))


def whole_id(id: str) -> str:
    """Return an id of ours without the module that it imports, with the latest version if it names none."""
    bare = id.rpartition(":")[2]
    ours = [f"lopgym/{entry.facts['id']}" for entry in environments]
    versions = [known for known in ours if known.rpartition("-v")[0] == bare]
    return max(versions, key=lambda known: int(known.rpartition("-v")[2]), default=bare)


def register_ids() -> None:
    """Tell Gymnasium about every registered world, by string entry points. Safe to call twice."""
    for entry in environments:
        if (id := f"lopgym/{entry.facts['id']}") not in gym.registry:
            gym.register(
                id,
                entry_point="lopgym.envs.build:single",
                vector_entry_point="lopgym.envs.build:batched" if has_batch(entry) else None,
                max_episode_steps=entry.facts.get("max_episode_steps"),
                kwargs={"world": entry.name},
            )
