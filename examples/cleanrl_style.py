"""PPO in one file, in the manner of CleanRL, on copies of a world: nothing but Gymnasium and torch.

Run it: `python examples/cleanrl_style.py` (half a minute). It trains on three worlds; on Catch without drift, where a
random player gets -0.6 an episode, it ends near 1.
"""

from collections import deque
from statistics import mean
from typing import Any

import gymnasium as gym
import torch
from torch import nn
from torch.distributions import Categorical

import lopgym

COPIES, HORIZON, EPOCHS, MINIBATCHES = 8, 32, 4, 4
GAMMA, LAMBDA, CLIP = 0.99, 0.95, 0.2


def make_envs(id: str, **world: Any) -> gym.vector.VectorEnv[Any, Any, Any]:
    """Make the copies; lopgym's `make_vec` sees to it that they change together."""
    wrappers = [gym.wrappers.RecordEpisodeStatistics]
    return lopgym.make_vec(id, COPIES, vectorization_mode="sync", autoreset_mode="SameStep", wrappers=wrappers, **world)


class Agent(nn.Module):
    """A trunk, a policy head and a value head."""

    def __init__(self, observations: int, actions: int) -> None:
        """Make the layers."""
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(observations, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.policy, self.value = nn.Linear(64, actions), nn.Linear(64, 1)

    def forward(self, observation: torch.Tensor) -> tuple[Categorical, torch.Tensor]:
        """Return the distribution of actions and the value, shape (B,)."""
        features = self.trunk(observation)
        return Categorical(logits=self.policy(features)), self.value(features).squeeze(-1)


def advantages(rewards: Any, values: Any, ended: Any) -> torch.Tensor:
    """Generalised advantage estimation; `values` has one row more than `rewards`, shape (T + 1, N)."""
    found, running = torch.zeros_like(rewards), torch.zeros(COPIES)
    for t in reversed(range(HORIZON)):
        on = 1.0 - ended[t]
        running = rewards[t] + GAMMA * on * values[t + 1] - values[t] + GAMMA * LAMBDA * on * running
        found[t] = running
    return found


def collect(
    agent: Agent, envs: gym.vector.VectorEnv[Any, Any, Any], seen: torch.Tensor, returns: deque[float]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Play a horizon from what is `seen`; return what is seen then, and a batch to improve on. Ended `returns` join."""
    history = []
    for _ in range(HORIZON):
        with torch.no_grad():
            policy, value = agent(seen)
        action = policy.sample()
        after, reward, terminated, truncated, info = envs.step(action.numpy())
        if "final_info" in info:
            returns.extend(info["final_info"]["episode"]["r"][info["_final_info"]].tolist())
        told = (torch.as_tensor(said, dtype=torch.float32) for said in (reward, terminated | truncated))
        history.append((seen, action, policy.log_prob(action), value, *told))
        seen = torch.as_tensor(after)
    observations, actions, logps, values, rewards, ends = map(torch.stack, zip(*history, strict=True))
    with torch.no_grad():
        advantage = advantages(rewards, torch.cat([values, agent(seen)[1][None]]), ends)
    columns = (observations, actions, logps, advantage, advantage + values)
    return seen, [column.flatten(0, 1) for column in columns]


def improve(agent: Agent, optimizer: torch.optim.Optimizer, batch: list[torch.Tensor]) -> None:
    """Some epochs of PPO's clipped loss on (observation, action, log probability, advantage, return), (B, ...) each."""
    for rows in (part for _ in range(EPOCHS) for part in torch.randperm(len(batch[0])).chunk(MINIBATCHES)):
        observation, action, logp, advantage, target = (column[rows] for column in batch)
        policy, value = agent(observation)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        ratio = (policy.log_prob(action) - logp).exp()
        gain = torch.min(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage).mean()
        loss = -gain + 0.5 * (value - target).pow(2).mean() - 0.01 * policy.entropy().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
        optimizer.step()


def train(id: str, steps: int = 20_000, seed: int = 0, **world: Any) -> float:
    """Train for that many steps of all copies together; return the mean return of the last 100 episodes."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    envs = make_envs(id, **world)
    agent = Agent(gym.spaces.flatdim(envs.single_observation_space), gym.spaces.flatdim(envs.single_action_space))
    optimizer = torch.optim.Adam(agent.parameters(), lr=2.5e-3, eps=1e-5)
    returns: deque[float] = deque(maxlen=100)
    seen = torch.as_tensor(envs.reset(seed=seed)[0])
    for _ in range(steps // (COPIES * HORIZON)):
        seen, batch = collect(agent, envs, seen, returns)
        improve(agent, optimizer, batch)
    envs.close()
    return mean(returns)


if __name__ == "__main__":
    print(f"Catch without drift   {train('lopgym/Catch-v0', drifts={}):5.2f}  (random: -0.6)")
    for world in ("Catch", "LabelBandit", "CartPole"):
        print(f"{world:20}  {train(f'lopgym/{world}-v0'):5.2f}")
