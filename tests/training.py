"""Small trainings that tests compare bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from lopgym.agents import agents
from lopgym.agents.attach import Plasticity
from lopgym.agents.mitigations import Mitigation
from lopgym.agents.vec_env import GymVecEnv

ALGORITHMS = ("dqn", "ppo")
OPTIONS: dict[str, dict[str, Any]] = {
    "dqn": {"learning_starts": 40, "train_freq": 1, "target_update_interval": 50, "buffer_size": 500},
    "ppo": {"n_steps": 50, "n_epochs": 8, "batch_size": 50, "ent_coef": 0.01},
}
STEPS, TASK = 400, 200


def cartpole(copies: int = 1) -> GymVecEnv:
    """Make Gymnasium's CartPole as Stable-Baselines3 sees it."""
    modes = {"autoreset_mode": AutoresetMode.SAME_STEP}
    return GymVecEnv(gym.make_vec("CartPole-v1", copies, vectorization_mode="sync", vector_kwargs=modes))


def catch(task: int = TASK) -> GymVecEnv:
    """Make Catch with a new task every `task` steps."""
    drifts = {name: {"kind": "count", "period": task} for name in ("observation_order", "action_order")}
    return GymVecEnv(gym.make_vec("lopgym/Catch-v0", 1, drifts=drifts, apply="truncate", autoreset_mode="SameStep"))


class Screen(gym.ObservationWrapper[Any, Any, Any]):
    """CartPole seen as an image, as bright as the cart is far from the middle."""

    def __init__(self, size: int) -> None:
        """Show images (1, size, size)."""
        super().__init__(gym.make("CartPole-v1"))
        self.observation_space = gym.spaces.Box(0, 255, (1, size, size), np.uint8)

    def observation(self, observation: Any) -> Any:
        """Return the image."""
        return np.full(self.observation_space.shape or (), 20 * abs(observation[0]), np.uint8)


def build(name: str, methods: Mapping[str, Mitigation] | None = None, world: Any = None, **options: Any) -> Any:
    """Build an agent with the options of these tests."""
    chosen = list((methods or {}).values())
    return agents.build(name, world or catch(), chosen, 0, "cpu", **OPTIONS[name] | {"hidden": (16, 16)} | options)


def train(
    name: str,
    methods: Mapping[str, Mitigation] | None = None,
    probes: Mapping[str, Any] | None = None,
    *,
    steps: int = STEPS,
    task: int = TASK,
    probe_every: int = 10,
    write: Any = lambda step, values: None,
    **options: Any,
) -> tuple[Any, Plasticity]:
    """Train with probes and mitigations attached; return the model and the callback."""
    model = build(name, methods, catch(task), **options)
    callback = Plasticity(probes=probes, mitigations=methods, steps_per_task=task, probe_every=probe_every, write=write)
    model.learn(steps, callback=callback)
    return model, callback


def everything(model: Any) -> dict[str, Tensor]:
    """Return all that training leaves in a model: weights, targets, optimizer state, and torch's random state."""
    found = dict(model.policy.state_dict())
    for index, state in enumerate(model.policy.optimizer.state.values()):
        found |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
    return found | {"rng": torch.get_rng_state()}


def differing(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> list[str]:
    """Return the names of what is not bitwise equal."""
    assert left.keys() == right.keys()
    return [name for name in left if not torch.equal(left[name], right[name])]
