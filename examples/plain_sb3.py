"""Loss of plasticity in plain Stable-Baselines3: no lopgym agent, no config, one registered id.

64 contexts, four answers, and every 2,560 steps all right answers are drawn anew. A network that could still learn as
it did at first would earn the same in every task. Run it: `python examples/plain_sb3.py` (half a minute).
"""

from collections import defaultdict

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from torch import nn

STEPS_PER_TASK = 2_560
COPIES = 64


class RewardPerTask(BaseCallback):
    """Collect the rewards of each task; the world says in `info["task"]` which one a step belongs to."""

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()
        self.rewards: defaultdict[int, list[float]] = defaultdict(list)

    def _on_step(self) -> bool:
        for reward, info in zip(self.locals["rewards"], self.locals["infos"], strict=True):
            self.rewards[info["task"]].append(float(reward))
        return True


def main(tasks: int = 28, seed: int = 0) -> list[float]:
    """Train one agent through `tasks` tasks; return its mean reward in each."""
    torch.set_num_threads(1)
    # `stride`: each of the copies counts the steps of all of them, so that they change together.
    drifts = {"labelling": {"kind": "count", "period": STEPS_PER_TASK}}
    world = {"drifts": drifts, "stride": COPIES, "world_seed": seed}
    env = make_vec_env("lopgym:lopgym/LabelBandit-v0", n_envs=COPIES, seed=seed, env_kwargs=world)
    model = PPO(
        "MlpPolicy",
        env,
        learning_rate=1e-2,
        n_steps=4,
        gamma=0.0,
        ent_coef=0.2,
        policy_kwargs={"net_arch": [64, 64], "activation_fn": nn.ReLU},
        seed=seed,
        device="cpu",
    )
    told = RewardPerTask()
    model.learn(tasks * STEPS_PER_TASK, callback=told)
    return [sum(rewards) / len(rewards) for _, rewards in sorted(told.rewards.items())]


if __name__ == "__main__":
    for task, reward in enumerate(main()):
        print(f"task {task:2d}  {reward:.2f}  {'#' * round(40 * reward)}")
