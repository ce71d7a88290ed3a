# mypy: disable-error-code="import-not-found,import-untyped"
"""RLlib's PPO on worlds of lopgym: `python examples/with_rllib.py` (some minutes).

On Catch without drift, where a random player gets -0.6 an episode, it ends near 1. Install it in an environment of its
own, `pip install lopgym "ray[rllib]"`: Ray 2.60 pins Gymnasium 1.2.2.
"""

from typing import Any

import gymnasium as gym
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune.registry import register_env


def make_env(config: dict[str, Any]) -> gym.Env[Any, Any]:
    """Make the world that the config names; workers import lopgym by the prefix of the id."""
    world = dict(config)
    return gym.make(f"lopgym:{world.pop('id')}", **world)


def train(id: str, steps: int = 20_000, seed: int = 0, **world: Any) -> float:
    """Train for that many steps; return the mean return of the last 100 episodes."""
    register_env("lopgym-world", make_env)
    config = (
        PPOConfig()
        .environment("lopgym-world", env_config={"id": id, **world})
        .env_runners(num_env_runners=0)
        .training(train_batch_size_per_learner=500, minibatch_size=125, num_epochs=8, lr=1e-3)
        .debugging(seed=seed)
    )
    algorithm = config.build_algo()
    results = [algorithm.train() for _ in range(steps // 500)]
    algorithm.stop()
    return float(results[-1]["env_runners"]["episode_return_mean"])


if __name__ == "__main__":
    print(f"Catch without drift   {train('lopgym/Catch-v0', drifts={}):5.2f}  (random: -0.6)")
    for world in ("Catch", "LabelBandit", "CartPole"):
        print(f"{world:20}  {train(f'lopgym/{world}-v0'):5.2f}")
