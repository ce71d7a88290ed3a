"""Hearing: what an agent notices of its own fortune while it acts, step by step, without being told anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor

from lopgym.agents.dqn import td_targets
from lopgym.probes.recording import undisturbed

Ears = Mapping[str, Sequence[Callable[[float], None]]]


def tell(model: Any, seen: Mapping[str, Any], ears: Ears) -> None:
    """Tell the ears of each signal what the step just taken says of it; training is not disturbed.

    Args:
        model: in the middle of collecting, before the step is stored.
        seen: a callback's `locals`.
        ears: signal to what hears it.
    """
    for signal, hearing in ears.items():
        for value in SIGNALS[signal](model, seen):
            for ear in hearing:
                ear(value)


def returns(model: Any, seen: Mapping[str, Any]) -> list[float]:
    """Return the return of each episode that this step ended."""
    return [float(info["episode"]["r"]) for info in seen["infos"] if "episode" in info]


def td_errors(model: Any, seen: Mapping[str, Any]) -> list[float]:
    """Return |r + gamma V(s') - V(s)| of this step, the mean over copies: one value, or none of an unknown algorithm.

    An episode that was cut is bootstrapped, one that ended is not. Observations and rewards are as the agent reads
    them.
    """
    return [float(np.abs(_td_errors(model, seen)).mean())]


@singledispatch
def _td_errors(model: Any, seen: Mapping[str, Any]) -> NDArray[Any]:
    raise TypeError(f"no TD error is known of {type(model).__name__}: listen to `return`")


@_td_errors.register
def _(model: DQN, seen: Mapping[str, Any]) -> NDArray[Any]:
    following, rewards, discounts = _transition(model, seen)
    actions = torch.as_tensor(np.asarray(seen["actions"]), device=model.device).long().reshape(-1, 1)
    with undisturbed(model.q_net):
        now = model.q_net(_read(model, model._last_obs)).gather(1, actions).squeeze(1)
    return _array(td_targets(model, following, rewards, discounts) - now)


@_td_errors.register
def _(model: OnPolicyAlgorithm, seen: Mapping[str, Any]) -> NDArray[Any]:
    following, rewards, discounts = _transition(model, seen)
    with undisturbed(model.policy):
        then = model.policy.predict_values(following).flatten()
    return _array(rewards + discounts * then - seen["values"].flatten())


def _transition(model: Any, seen: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Return what followed the step, (B, ...), what it earned, (B,), and the discount of what follows, 0 at an end."""
    following, infos, dones = np.array(seen["new_obs"]), seen["infos"], np.asarray(seen["dones"])
    ended = dones.copy()
    for i in dones.nonzero()[0].tolist():
        following[i] = infos[i]["terminal_observation"]
        ended[i] = not infos[i].get("TimeLimit.truncated", False)
    rewards = torch.as_tensor(np.asarray(seen["rewards"], np.float32), device=model.device)
    discounts = torch.as_tensor(model.gamma * ~ended, dtype=torch.float32, device=model.device)
    return _read(model, following), rewards, discounts


def _read(model: Any, observations: Any) -> Tensor:
    tensor: Tensor = model.policy.obs_to_tensor(observations)[0]
    return tensor


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array


SIGNALS: Mapping[str, Callable[[Any, Mapping[str, Any]], list[float]]] = {"td_error": td_errors, "return": returns}
