"""Worlds of lopgym under Stable-Baselines3, sb3-contrib or SBX: three packages, one way to write it.

`python examples/with_sb3.py` trains SB3's DQN on three worlds (half a minute); on Catch without drift, where a random
player gets -0.6 an episode, it ends near 1. Name another algorithm to train that:

    pip install sb3-contrib;  python examples/with_sb3.py sb3_contrib:QRDQN
    pip install sbx-rl;       python examples/with_sb3.py sbx:PPO
"""

import sys
from importlib import import_module
from statistics import mean
from typing import Any

import torch
from stable_baselines3.common.env_util import make_vec_env

DEFAULT = "stable_baselines3:DQN"
SMALL_Q: dict[str, Any] = {
    "learning_rate": 1e-3,
    "learning_starts": 200,
    "target_update_interval": 500,
    "exploration_fraction": 0.3,
    "exploration_final_eps": 0.05,
}
SETTINGS = {"DQN": SMALL_Q, "QRDQN": SMALL_Q | {"policy_kwargs": {"n_quantiles": 25}}}


def train(id: str, steps: int = 20_000, seed: int = 0, algorithm: str = DEFAULT, **world: Any) -> float:
    """Train for that many steps; return the mean return of the last 100 episodes, exploration included."""
    torch.set_num_threads(1)
    package, name = algorithm.split(":")
    env = make_vec_env(f"lopgym:{id}", seed=seed, env_kwargs=world)
    make = getattr(import_module(package), name)
    model = make("MlpPolicy", env, seed=seed, device="auto" if package == "sbx" else "cpu", **SETTINGS.get(name, {}))
    model.learn(steps)
    return float(mean(episode["r"] for episode in model.ep_info_buffer))


if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else DEFAULT
    print(f"Catch without drift   {train('lopgym/Catch-v0', algorithm=chosen, drifts={}):5.2f}  (random: -0.6)")
    for world in ("Catch", "LabelBandit", "CartPole"):
        print(f"{world:20}  {train(f'lopgym/{world}-v0', algorithm=chosen):5.2f}")
