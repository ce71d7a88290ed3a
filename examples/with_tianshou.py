# mypy: disable-error-code="import-not-found,import-untyped"
"""Tianshou 2's DQN on worlds of lopgym: `pip install "tianshou>=2"`, then `python examples/with_tianshou.py`.

On Catch without drift, where a random player gets -0.6 an episode, it ends near 1. Install it in an environment of its
own: it wants older versions of other packages than lopgym is tested with, or pip steps back to an older Tianshou.
"""

from typing import Any

import gymnasium as gym
import torch
from tianshou.algorithm import DQN
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OffPolicyTrainerParams
from tianshou.utils.net.common import Net

import lopgym  # noqa: F401  # registers the ids

COPIES = 4


def train(id: str, steps: int = 20_000, seed: int = 0, **world: Any) -> float:
    """Train for that many steps of all copies together; return the mean return of 100 episodes after that."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    # `stride`: each of the copies counts the steps of all of them, so that they change together.
    envs = DummyVectorEnv([lambda: gym.make(id, stride=COPIES, **world) for _ in range(COPIES)])
    envs.seed(seed)
    space = envs.action_space[0]
    network = Net(state_shape=envs.observation_space[0].shape, action_shape=space.n, hidden_sizes=[64, 64])
    policy = DiscreteQLearningPolicy(model=network, action_space=space, eps_training=0.1, eps_inference=0.0)
    algorithm = DQN(policy=policy, optim=AdamOptimizerFactory(lr=1e-3), target_update_freq=500)
    collector = Collector(algorithm, envs, VectorReplayBuffer(10_000, COPIES), exploration_noise=True)
    collector.reset()
    collector.collect(n_step=200)
    plan = OffPolicyTrainerParams(
        training_collector=collector,
        max_epochs=1,
        epoch_num_steps=steps,
        collection_step_num_env_steps=20,
        update_step_num_gradient_steps_per_sample=0.25,
        batch_size=64,
        show_progress=False,
        verbose=False,
    )
    algorithm.run_training(plan)
    return float(Collector(algorithm, envs).collect(n_episode=100, reset_before_collect=True).returns_stat.mean)


if __name__ == "__main__":
    print(f"Catch without drift   {train('lopgym/Catch-v0', drifts={}):5.2f}  (random: -0.6)")
    for world in ("Catch", "LabelBandit", "CartPole"):
        print(f"{world:20}  {train(f'lopgym/{world}-v0'):5.2f}")
