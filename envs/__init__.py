"""Worlds, and what changes in them."""

if __name__ != "lopgym.envs":
    raise ImportError(f"this folder is the package lopgym.envs: write `import lopgym.envs`, not `import {__name__}`")

from typing import Any

import gymnasium as gym

from lopgym.registry import Registry

environments: Registry[Any] = Registry("environment", __name__)


def register_ids() -> None:
    """Tell Gymnasium about every registered world, by string entry points. Safe to call twice."""
    for entry in environments:
        if (id := f"lopgym/{entry.facts['id']}") not in gym.registry:
            gym.register(
                id,
                entry_point="lopgym.envs.build:single",
                vector_entry_point="lopgym.envs.build:batched",
                max_episode_steps=entry.facts.get("max_episode_steps"),
                kwargs={"world": entry.name},
            )
