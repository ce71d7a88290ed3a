"""Problems: what an agent is learning just now, frozen, so that several networks can learn the same thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from stable_baselines3 import DQN, PPO
from torch import Tensor, nn

from lopgym.agents.dqn import td_targets
from lopgym.probes.fitting import Problem
from lopgym.probes.recording import undisturbed
from lopgym.probes.trainability import random_targets

Outputs = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class RandomProblem(Problem):
    """Regress on random targets, which lie about what each network says before it learns them.

    Args:
        spread: mean squared distance of the targets from their mean, the loss of whoever knows no more than that.
        about: shifts the targets by an offset, (O,).
        outputs: what a network says of all samples, (N, O).
    """

    spread: float
    about: Callable[[Tensor], Problem]
    outputs: Callable[[nn.Module], Tensor]

    def asked_of(self, network: nn.Module) -> Problem:
        """Return the problem with targets about the mean of what `network` says, arXiv:2303.01486 sec. 3.1.

        Or a network whose outputs are far from 0, as values are, would first have to come back from there, and a fresh
        one would not.
        """
        with undisturbed(network):
            return self.about(self.outputs(network).mean(dim=0))


@dataclass(frozen=True)
class Source:
    """How to make problems of the agents of one algorithm.

    Args:
        live: maps a model and a number of samples to problems of its latest data, by name; draws from the global
            random streams.
        outputs: maps a network of the model and observations (B, ...) to what its heads say, (B, O).
    """

    live: Callable[[Any, int], dict[str, Problem]]
    outputs: Outputs


def source_of(model: Any) -> Source:
    """Return how to make problems of `model`.

    Raises:
        TypeError: its algorithm is not among `SOURCES`.
    """
    for algorithm, source in SOURCES.items():
        if isinstance(model, algorithm):
            return source
    known = ", ".join(sorted(algorithm.__name__ for algorithm in SOURCES))
    raise TypeError(f"no problems can be made of {type(model).__name__}; known: {known}")


@contextmanager
def streams(seed: int) -> Iterator[None]:
    """Start the global random streams of torch and NumPy from `seed` inside; afterwards they go on where they were."""
    state = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            np.random.set_state(state)


def random_problem(outputs: Outputs, fresh: nn.Module, observations: Tensor) -> RandomProblem:
    """Make a problem of random targets for all heads together: the mean squared error over samples and outputs.

    Args:
        outputs: as of `Source`.
        fresh: a newly initialised network, the function behind the targets; none that learns may start from it.
        observations: (N, ...), as the network reads them.
    """
    with undisturbed(fresh):
        targets = random_targets(outputs(fresh, observations))

    def loss(offset: Tensor, network: nn.Module, rows: Tensor) -> Tensor:
        return nn.functional.mse_loss(outputs(network, observations[rows]), offset + targets[rows])

    return RandomProblem(
        samples=len(observations),
        loss=partial(loss, torch.zeros_like(targets[0])),
        spread=targets.double().var(dim=0, correction=0).mean().item(),
        about=lambda offset: Problem(len(observations), partial(loss, offset)),
        outputs=lambda network: outputs(network, observations),
    )


def _dqn_live(model: DQN, samples: int) -> dict[str, Problem]:
    """Regress on the TD targets as they are now: the target network stands still."""
    assert model.replay_buffer is not None, "a DQN in training has a replay buffer"
    data = model.replay_buffer.sample(samples, env=model.get_vec_normalize_env())
    discounts = (1 - data.dones) * (model.gamma if data.discounts is None else data.discounts)
    targets = td_targets(model, data.next_observations, data.rewards.flatten(), discounts.flatten())
    actions = data.actions.long()

    def loss(network: nn.Module, rows: Tensor) -> Tensor:
        q = network(data.observations[rows]).gather(1, actions[rows]).squeeze(1)
        return nn.functional.smooth_l1_loss(q, targets[rows])

    return {"live": Problem(samples, loss)}


def _ppo_live(model: PPO, samples: int) -> dict[str, Problem]:
    """Regress on the returns, and imitate the actions that did better than expected.

    PPO's own surrogate starts from whoever collected the data, so no other network can begin with it. Actions weighted
    by max(A, 0) (self-imitation, arXiv:1806.05635 eq. 2, with A as PPO centres it) ask the same of everybody.
    """
    buffer: Any = model.rollout_buffer
    rows = torch.randperm(buffer.returns.size)[:samples].numpy()
    chosen = partial(torch.as_tensor, device=model.device)
    observations = chosen(buffer.observations.reshape(-1, *buffer.obs_shape)[rows])
    actions = chosen(buffer.actions.reshape(len(buffer.returns.ravel()), -1)[rows])
    returns, advantages = chosen(buffer.returns.reshape(-1)[rows]), chosen(buffer.advantages.reshape(-1)[rows])
    if hasattr(model.action_space, "n"):
        actions = actions.long().flatten()
    better = (advantages - advantages.mean()).relu()
    weights = better / better.mean().clamp(min=torch.finfo(better.dtype).tiny)

    def value_loss(policy: Any, rows: Tensor) -> Tensor:
        return nn.functional.mse_loss(policy.predict_values(observations[rows]).flatten(), returns[rows])

    def policy_loss(policy: Any, rows: Tensor) -> Tensor:
        _, log_probabilities, _ = policy.evaluate_actions(observations[rows], actions[rows])
        loss: Tensor = -(weights[rows] * log_probabilities).mean()
        return loss

    return {"live_value": Problem(len(rows), value_loss), "live_policy": Problem(len(rows), policy_loss)}


def _actor_critic(policy: Any, observations: Tensor) -> Tensor:
    """Return what both heads say, (B, actions or action dimensions + 1)."""
    features = policy.extract_features(observations)
    of_actor, of_critic = (features, features) if policy.share_features_extractor else features
    actor, critic = policy.mlp_extractor.forward_actor(of_actor), policy.mlp_extractor.forward_critic(of_critic)
    return torch.cat([policy.action_net(actor), policy.value_net(critic)], dim=1)


def _q_values(network: nn.Module, observations: Tensor) -> Tensor:
    q: Tensor = network(observations)
    return q


SOURCES: dict[type, Source] = {DQN: Source(_dqn_live, _q_values), PPO: Source(_ppo_live, _actor_critic)}
