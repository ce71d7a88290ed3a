# mypy: disable-error-code="import-not-found,import-untyped"
"""TorchRL's DQN on worlds of lopgym: `pip install torchrl`, then `python examples/with_torchrl.py` (a minute).

On Catch without drift, where a random player gets -0.6 an episode, it ends near 1.
"""

from collections import deque
from statistics import mean
from typing import Any

import gymnasium as gym
import torch
from tensordict.nn import TensorDictSequential
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.envs import Compose, GymWrapper, InitTracker, RewardSum, TransformedEnv
from torchrl.envs.utils import check_env_specs
from torchrl.modules import MLP, EGreedyModule, QValueActor
from torchrl.objectives import DQNLoss, SoftUpdate

FRAMES = 32


def train(id: str, steps: int = 20_000, seed: int = 0, **world: Any) -> float:
    """Train for that many steps; return the mean return of the last 100 episodes, exploration included."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    env = GymWrapper(gym.make(f"lopgym:{id}", **world), categorical_action_encoding=True)
    env = TransformedEnv(env, Compose(InitTracker(), RewardSum()))
    check_env_specs(env)
    env.set_seed(seed)
    sizes = {"in_features": env.observation_spec["observation"].shape[-1], "out_features": env.action_spec.n}
    values = QValueActor(MLP(num_cells=[64, 64], **sizes), in_keys=["observation"], spec=env.action_spec)
    exploration = EGreedyModule(env.action_spec, eps_end=0.05, annealing_num_steps=steps // 3)
    policy = TensorDictSequential(values, exploration)
    loss = DQNLoss(values, action_space=env.action_spec, delay_value=True)
    follow, optimizer = SoftUpdate(loss, tau=0.01), torch.optim.Adam(loss.parameters(), 1e-3)
    memory = ReplayBuffer(storage=LazyTensorStorage(10_000), batch_size=64)
    returns: deque[float] = deque(maxlen=100)
    for frames in Collector(env, policy, frames_per_batch=FRAMES, total_frames=steps):
        memory.extend(frames)
        returns.extend(frames["next", "episode_reward"][frames["next", "done"]].tolist())
        exploration.step(frames.numel())
        for _ in range(FRAMES // 4):
            optimizer.zero_grad()
            loss(memory.sample())["loss"].backward()
            optimizer.step()
            follow.step()
    return mean(returns)


if __name__ == "__main__":
    print(f"Catch without drift   {train('lopgym/Catch-v0', drifts={}):5.2f}  (random: -0.6)")
    for world in ("Catch", "LabelBandit", "CartPole"):
        print(f"{world:20}  {train(f'lopgym/{world}-v0'):5.2f}")
