"""Stand-in: another network in the place of an agent's, for as long as it is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete
from numpy.typing import NDArray
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor

from lopgym.agents.anatomy import Anatomy, anatomy_of
from lopgym.agents.measuring import Measuring
from lopgym.agents.problems import streams
from lopgym.probes.captures import Captures, Unavailable
from lopgym.probes.recording import evaluated, swapped, undisturbed
from lopgym.seeding import derive

Array = NDArray[np.float32]


def strangers(anatomy: Anatomy, count: int, seed: int) -> Iterator[Mapping[str, Tensor]]:
    """Draw the states of freshly initialised networks, one after the other; the global random streams stay."""
    for number in range(count):
        with streams(derive(seed, "fresh", number)):
            state = anatomy.fresh()
        yield state


@contextmanager
def stand_in(model: Any, state: Mapping[str, Tensor]) -> Iterator[None]:
    """Let a network of this state be the model's inside, its target too, and its rollout one of its own."""
    anatomy = anatomy_of(model)
    target = anatomy.target
    with (
        swapped(anatomy.network, state),
        nullcontext() if target is None else swapped(target, state),
        as_its_own(model),
    ):
        yield


def captures_of(anatomy: Anatomy, measuring: Measuring, *, samples: int, seed: int) -> Captures:
    """Let the loss pull at the parameters as in training, and open them to probes; gradients are gone afterwards."""
    network = anatomy.network
    batch = anatomy.batch(samples, torch.Generator().manual_seed(derive(seed, "gradients")))
    network.zero_grad()
    with suppress(Unavailable), evaluated(network), torch.enable_grad():
        torch.autograd.backward(batch.loss(batch.observations).mean())
    captures = measuring.captures(0)
    network.zero_grad()
    return captures


@contextmanager
def as_its_own(model: Any) -> Iterator[None]:
    """Let a rollout be, inside, as if the network as it is now had collected it; a replay belongs to nobody.

    Or most of what a clipped surrogate asks of another network would be cut off, for it began elsewhere.
    """
    if not isinstance(model, OnPolicyAlgorithm):
        yield
        return
    buffer = model.rollout_buffer
    held = buffer.log_probs, buffer.values
    buffer.log_probs, buffer.values = _said(model)
    try:
        yield
    finally:
        buffer.log_probs, buffer.values = held


def _said(model: OnPolicyAlgorithm) -> tuple[Array, Array]:
    """Return what the policy as it is now thinks of the rollout: log-probabilities and values, (steps, copies)."""
    buffer = model.rollout_buffer
    observations = torch.as_tensor(buffer.observations.reshape(-1, *buffer.obs_shape), device=model.device)
    actions = torch.as_tensor(buffer.actions.reshape(len(observations), -1), device=model.device)
    if isinstance(model.action_space, Discrete):
        actions = actions.long().flatten()
    with undisturbed(model.policy):
        values, log_probs, _ = model.policy.evaluate_actions(observations, actions)
    return _stored(log_probs, buffer.log_probs), _stored(values, buffer.values)


def _stored(tensor: Tensor, like: Array) -> Array:
    stored: Array = tensor.cpu().numpy().reshape(like.shape)
    return stored
