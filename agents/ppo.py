"""PPO: Stable-Baselines3's, on our trunk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, cast

import numpy as np
import torch
from annotated_types import MinLen
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor
from torch.distributions import Distribution

from lopgym.agents import agents
from lopgym.agents.anatomy import Anatomy, Batch, policy_kwargs
from lopgym.agents.chain import affines, hidden_layers
from lopgym.agents.initialisers import Affine, orthogonal, torch_default
from lopgym.agents.mitigations import Mitigation
from lopgym.agents.network import Layer, NetworkSpec
from lopgym.bounds import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt


def anatomy(model: PPO) -> Anatomy:
    """Name the parts of a PPO: the networks `actor` and `critic`, and `shared` for what both of them read."""
    policy: Any = model.policy

    def batch(n: int, rng: torch.Generator) -> Batch:
        buffer = model.rollout_buffer
        seen = buffer.observations.reshape(-1, *buffer.obs_shape)  # (steps, copies, ...) before training, flat after
        size = len(seen) if buffer.full or buffer.generator_ready else max(buffer.pos * buffer.n_envs, 1)
        rows = torch.randint(size, (n,), generator=rng).numpy()
        return Batch(
            observations=torch.as_tensor(seen[rows], device=model.device),
            loss=partial(clipped_losses, model, rows),
            regression=lambda seen: {"critic.head": value_regression(model, rows, seen)},
            ages=torch.as_tensor(ages(buffer, rows)),
        )

    def forward(seen: Tensor) -> None:
        policy.get_distribution(seen)
        policy.predict_values(seen)

    def action_probabilities(seen: Tensor) -> Tensor:
        return cast(Tensor, policy.get_distribution(seen).distribution.probs)

    layers, heads = _trunks(policy)
    discrete = isinstance(model.action_space, spaces.Discrete)
    return Anatomy(
        network=policy,
        target=None,
        optimizer=policy.optimizer,
        forward=forward,
        layers=layers,
        heads=heads,
        value_heads=("critic.head",),
        action_heads=("actor.head",) if discrete else (),
        batch=batch,
        action_probabilities=action_probabilities if discrete else None,
        fresh=lambda: model.policy_class(
            model.observation_space, model.action_space, model.lr_schedule, **model.policy_kwargs
        ).state_dict(),
    )


def clipped_losses(model: Any, rows: NDArray[Any], observations: Tensor) -> Tensor:
    """Return each stored sample's loss, (B,), as `PPO.train` takes it: clipped surrogate, value loss, entropy bonus.

    Args:
        model: in training; its rollout is read, and not changed. Advantages are standardised within the batch.
        rows: where the samples are, in a rollout flattened to (steps * copies, ...).
        observations: of the samples, as the network reads them, (B, ...).
    """
    buffer, policy, progress = model.rollout_buffer, model.policy, model._current_progress_remaining
    actions, values_then, log_probs_then, advantages, returns = (
        torch.as_tensor(array.reshape(-1, *shape)[rows], device=model.device)
        for array, shape in (
            (buffer.actions, (buffer.action_dim,)),
            *((array, ()) for array in (buffer.values, buffer.log_probs, buffer.advantages, buffer.returns)),
        )
    )
    if isinstance(model.action_space, spaces.Discrete):
        actions = actions.long().flatten()
    values, log_probs, entropy = policy.evaluate_actions(observations, actions)
    if model.normalize_advantage and len(advantages) > 1:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    ratio, clip = torch.exp(log_probs - log_probs_then), model.clip_range(progress)
    surrogate = torch.min(advantages * ratio, advantages * ratio.clamp(1 - clip, 1 + clip))
    values = values.flatten()
    if model.clip_range_vf is not None:
        longest = model.clip_range_vf(progress)
        values = values_then + (values - values_then).clamp(-longest, longest)
    bonus = -log_probs if entropy is None else entropy
    losses: Tensor = model.vf_coef * (returns - values) ** 2 - surrogate - model.ent_coef * bonus
    return losses


def value_regression(model: Any, rows: NDArray[Any], observations: Tensor) -> tuple[Tensor, Tensor]:
    """Return the value of each stored sample, as it is now, and the return that it regresses on, both (B,).

    Arguments are those of `clipped_losses`.
    """
    returns = torch.as_tensor(model.rollout_buffer.returns.reshape(-1)[rows], device=model.device)
    return model.policy.predict_values(observations).flatten(), returns


def ages(buffer: RolloutBuffer, rows: NDArray[Any]) -> NDArray[Any]:
    """Return how many env steps, over all copies, were collected after the samples at `rows` of a flattened rollout."""
    # flattened by rows before training, and copy by copy once training has begun
    steps = rows % buffer.buffer_size if buffer.generator_ready else rows // buffer.n_envs
    since: NDArray[Any] = np.maximum(buffer.pos - 1 - steps, 0) * buffer.n_envs
    return since


def _trunks(policy: Any) -> tuple[tuple[Layer, ...], dict[str, Affine]]:
    """Name layers and heads. What both branches read is `shared`; a trunk of one's own belongs to its branch."""
    # Stable-Baselines3's gain for everything below the heads
    initialiser = orthogonal(math.sqrt(2)) if policy.ortho_init else torch_default
    heads: dict[str, Affine] = {"actor.head": policy.action_net, "critic.head": policy.value_net}
    actor, critic = [policy.mlp_extractor.policy_net], [policy.mlp_extractor.value_net]
    shared: tuple[Layer, ...] = ()
    if policy.share_features_extractor:
        readers = [affines([*actor, policy.action_net])[0], affines([*critic, policy.value_net])[0]]
        shared = hidden_layers("shared", [policy.features_extractor], readers, initialiser)
    else:
        actor, critic = [policy.pi_features_extractor, *actor], [policy.vf_features_extractor, *critic]
    of_actor = hidden_layers("actor", actor, [policy.action_net], initialiser)
    return shared + of_actor + hidden_layers("critic", critic, [policy.value_net], initialiser), heads


@agents.register("ppo", algorithm=PPO, anatomy=anatomy, rollout=("n_steps",))
def ppo(
    env: VecEnv,
    mitigations: Sequence[Mitigation] = (),
    seed: int = 0,
    device: str = "cpu",
    *,
    learning_rate: PositiveFloat = 3e-4,
    n_steps: PositiveInt = 128,
    batch_size: PositiveInt = 64,
    n_epochs: PositiveInt = 10,
    gamma: Fraction = 0.99,
    gae_lambda: Fraction = 0.95,
    clip_range: PositiveFloat = 0.2,
    ent_coef: NonNegativeFloat = 0.0,
    vf_coef: NonNegativeFloat = 0.5,
    max_grad_norm: PositiveFloat = 0.5,
    normalize_advantage: bool = True,
    target_kl: PositiveFloat | None = None,
    hidden: Annotated[tuple[PositiveInt, ...], MinLen(1)] = (64, 64),
    stem: str = "mlp",
    share_trunk: bool = False,
) -> PPO:
    """Proximal policy optimisation of Stable-Baselines3 (Schulman et al. 2017, arXiv:1707.06347).

    Args:
        env: the world, as a `VecEnv`.
        mitigations: methods, in the order in which they shape the network and act.
        seed: of the network, the actions and the minibatches.
        device: where the network lives.
        learning_rate: step size of Adam.
        n_steps: steps of each copy in a rollout.
        batch_size: transitions in a minibatch.
        n_epochs: passes over a rollout.
        gamma: discount.
        gae_lambda: decay of the advantage estimate.
        clip_range: how far the probability ratio may move from 1.
        ent_coef: weight of the entropy bonus.
        vf_coef: weight of the value loss.
        max_grad_norm: longest gradient; longer ones are scaled down to it.
        normalize_advantage: whether advantages are standardised in each minibatch.
        target_kl: divergence at which the passes over a rollout stop early; None never stops.
        hidden: units of each hidden layer of each trunk.
        stem: way from the observation to the hidden layers, `mlp` or `conv`.
        share_trunk: whether actor and critic share their hidden layers.
    """
    Distribution.set_default_validate_args(False)  # checks every action of every minibatch: a tenth of the CPU time
    shape = policy_kwargs(NetworkSpec(hidden=hidden, stem=stem), mitigations, eps=1e-5)
    return PPO(
        "MlpPolicy",
        env,
        learning_rate=learning_rate,
        n_steps=n_steps,
        batch_size=batch_size,
        n_epochs=n_epochs,
        gamma=gamma,
        gae_lambda=gae_lambda,
        clip_range=clip_range,
        ent_coef=ent_coef,
        vf_coef=vf_coef,
        max_grad_norm=max_grad_norm,
        normalize_advantage=normalize_advantage,
        target_kl=target_kl,
        policy_kwargs=shape | {"share_features_extractor": share_trunk},
        seed=seed,
        device=device,
    )
