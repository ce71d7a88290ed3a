"""Collecting: let an agent act in its world for a while, learning nothing, so that its buffer holds what it meets."""

from __future__ import annotations

from functools import singledispatch
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

from lopgym.record import Recorder
from lopgym.studies.reporting import logger_into

Array = NDArray[np.float32]


def collect(model: Any, samples: int, seed: int) -> None:
    """Fill the agent's own buffer with at least `samples` transitions, or as many as it takes; nothing is learned.

    The agent acts as in training, exploration at its last level. Its random streams are those of `seed`: NumPy's and
    torch's global ones are set.
    """
    np.random.seed(seed % 2**32)  # Stable-Baselines3 explores by NumPy's global generator, its policies draw by torch's
    torch.manual_seed(seed)
    model.action_space.seed(seed % 2**32)
    model.set_logger(logger_into(Recorder([])))
    _, callback = model._setup_learn(samples)
    _fill(model, callback, ceil(samples / model.n_envs))


@singledispatch
def _fill(model: Any, callback: BaseCallback, steps: int) -> None:
    raise TypeError(f"nothing is known of how {type(model).__name__} collects: it has neither a rollout nor a replay")


@_fill.register
def _(model: OnPolicyAlgorithm, callback: BaseCallback, steps: int) -> None:
    assert model.env is not None
    model.rollout_buffer.buffer_size = steps
    model.collect_rollouts(model.env, callback, model.rollout_buffer, steps)


@_fill.register
def _(model: OffPolicyAlgorithm, callback: BaseCallback, steps: int) -> None:
    assert model.env is not None
    assert model.replay_buffer is not None
    _hold_still(model)
    steps = min(steps, model.replay_buffer.buffer_size)
    model.collect_rollouts(model.env, callback, TrainFreq(steps, TrainFrequencyUnit.STEP), model.replay_buffer)


def _hold_still(model: Any) -> None:
    """Keep what Stable-Baselines3 moves while it collects where it is: epsilon and the target network."""
    last = model.exploration_final_eps
    model.exploration_schedule = lambda progress_remaining: last
    model.target_update_interval = 2**62
