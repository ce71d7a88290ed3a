"""DQN: Stable-Baselines3's, on our trunk."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, cast

import torch
from annotated_types import MinLen
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from lopgym.agents import agents
from lopgym.agents.anatomy import Anatomy, Batch, policy_kwargs
from lopgym.agents.chain import hidden_layers
from lopgym.agents.initialisers import torch_default
from lopgym.agents.mitigations import Mitigation
from lopgym.agents.network import NetworkSpec
from lopgym.bounds import Fraction, NonNegativeInt, PositiveFloat, PositiveInt
from lopgym.probes.captures import Unavailable
from lopgym.probes.recording import undisturbed

Rows = tuple[NDArray[Any], NDArray[Any]]  # of a replay buffer: step and copy of each sample


def anatomy(model: DQN) -> Anatomy:
    """Name the parts of a DQN: one trunk `q` with its lagging target."""
    policy, network = model.policy, model.q_net
    *body, head = list(network.q_net)
    assert isinstance(head, nn.Linear), "a Q network ends in a linear map"

    def batch(n: int, rng: torch.Generator) -> Batch:
        buffer = model.replay_buffer
        assert buffer is not None, "a DQN in training has a replay buffer"
        size = buffer.buffer_size if buffer.full else buffer.pos
        steps, copies = (torch.randint(high, (n,), generator=rng).numpy() for high in (max(size, 1), buffer.n_envs))
        seen = buffer._normalize_obs(buffer.observations[steps, copies], model.get_vec_normalize_env())
        return Batch(
            observations=torch.as_tensor(seen, device=model.device),
            loss=partial(td_losses, model, (steps, copies)),
            regression=lambda seen: {"q.head": td_regression(model, (steps, copies), seen)},
            ages=torch.as_tensor(ages(buffer, steps)),
        )

    def action_probabilities(seen: Tensor) -> Tensor:
        q = cast(Tensor, network(seen))
        greedy = nn.functional.one_hot(q.argmax(1), q.shape[1]).to(q.dtype)
        epsilon = model.exploration_rate
        return (1 - epsilon) * greedy + epsilon / q.shape[1]

    return Anatomy(
        network=network,
        target=model.q_net_target,
        optimizer=policy.optimizer,
        forward=network,
        layers=hidden_layers("q", [network.features_extractor, *body], [head], torch_default),
        heads={"q.head": head},
        value_heads=("q.head",),
        action_heads=("q.head",),
        batch=batch,
        action_probabilities=action_probabilities,
        fresh=lambda: policy.make_q_net().state_dict(),
    )


def td_targets(model: DQN, following: Tensor, rewards: Tensor, discounts: Tensor | float) -> Tensor:
    """Return r + discount * max_a Q'(s', a), (B,), Q' being the target network as it is; discount 0 at an end."""
    with undisturbed(model.q_net_target):
        best: Tensor = model.q_net_target(following).max(dim=1).values
    return rewards + discounts * best


def td_losses(model: DQN, rows: Rows, observations: Tensor) -> Tensor:
    """Return the Huber loss of the TD error of each stored transition, (B,), as `DQN.train` takes it.

    Arguments and refusals are those of `td_regression`.
    """
    return nn.functional.smooth_l1_loss(*td_regression(model, rows, observations), reduction="none")


def td_regression(model: DQN, rows: Rows, observations: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q(s, a) of each stored transition and the TD target that it regresses on, both (B,).

    Args:
        model: in training; its target network and its replay buffer are read, and neither is changed.
        rows: where the transitions are.
        observations: of the transitions, as the network reads them, (B, ...).

    Raises:
        Unavailable: transitions are not stored one by one, but as sums of several steps or without what follows.
    """
    buffer, normalizer = model.replay_buffer, model.get_vec_normalize_env()
    if type(buffer) is not ReplayBuffer or buffer.optimize_memory_usage:
        raise Unavailable("there is no loss of single transitions: the replay buffer does not store them one by one")
    actions, following, rewards, going_on = (
        torch.as_tensor(array, device=model.device)
        for array in (
            buffer.actions[rows],
            buffer._normalize_obs(buffer.next_observations[rows], normalizer),
            buffer._normalize_reward(buffer.rewards[rows], normalizer),
            1 - buffer.dones[rows] * (1 - buffer.timeouts[rows]),
        )
    )
    targets = td_targets(model, following, rewards, going_on * model.gamma)
    return model.q_net(observations).gather(1, actions.long()).squeeze(1), targets


def ages(buffer: ReplayBuffer, steps: NDArray[Any]) -> NDArray[Any]:
    """Return how many env steps, over all copies, were stored after those at rows `steps` of a buffer, a ring."""
    rows = buffer.buffer_size if buffer.full else max(buffer.pos, 1)
    return (buffer.pos - 1 - steps) % rows * buffer.n_envs


@agents.register("dqn", algorithm=DQN, anatomy=anatomy, rollout=("train_freq",), actions=("Discrete",))
def dqn(
    env: VecEnv,
    mitigations: Sequence[Mitigation] = (),
    seed: int = 0,
    device: str = "cpu",
    *,
    learning_rate: PositiveFloat = 1e-4,
    buffer_size: PositiveInt = 100_000,
    learning_starts: NonNegativeInt = 100,
    batch_size: PositiveInt = 32,
    tau: Fraction = 1.0,
    gamma: Fraction = 0.99,
    train_freq: PositiveInt = 4,
    gradient_steps: PositiveInt = 1,
    target_update_interval: PositiveInt = 10_000,
    exploration_fraction: Fraction = 0.1,
    exploration_initial_eps: Fraction = 1.0,
    exploration_final_eps: Fraction = 0.05,
    max_grad_norm: PositiveFloat = 10.0,
    hidden: Annotated[tuple[PositiveInt, ...], MinLen(1)] = (64, 64),
    stem: str = "mlp",
) -> DQN:
    """Deep Q-network of Stable-Baselines3 (Mnih et al. 2015, doi:10.1038/nature14236), discrete actions.

    Args:
        env: the world, as a `VecEnv`.
        mitigations: methods, in the order in which they shape the network and act.
        seed: of the network, the exploration and the replay.
        device: where the network lives.
        learning_rate: step size of Adam.
        buffer_size: transitions kept, over all copies.
        learning_starts: random steps before the first update.
        batch_size: transitions in an update.
        tau: share of the network in its target at an update of the target; 1 copies it.
        gamma: discount.
        train_freq: steps of each copy between updates.
        gradient_steps: updates at a time.
        target_update_interval: steps between updates of the target.
        exploration_fraction: share of the run over which epsilon falls; of the task, if tasks restart exploration.
        exploration_initial_eps: epsilon at first.
        exploration_final_eps: epsilon at last.
        max_grad_norm: longest gradient; longer ones are scaled down to it.
        hidden: units of each hidden layer.
        stem: way from the observation to the hidden layers, `mlp` or `conv`.
    """
    return DQN(
        "MlpPolicy",
        env,
        learning_rate=learning_rate,
        buffer_size=buffer_size,
        learning_starts=learning_starts,
        batch_size=batch_size,
        tau=tau,
        gamma=gamma,
        train_freq=train_freq,
        gradient_steps=gradient_steps,
        target_update_interval=target_update_interval,
        exploration_fraction=exploration_fraction,
        exploration_initial_eps=exploration_initial_eps,
        exploration_final_eps=exploration_final_eps,
        max_grad_norm=max_grad_norm,
        policy_kwargs=policy_kwargs(NetworkSpec(hidden=hidden, stem=stem), mitigations, eps=1e-8),
        seed=seed,
        device=device,
    )
