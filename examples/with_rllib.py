# mypy: disable-error-code="import-not-found"
"""RLlib's PPO on worlds of lopgym: `pip install "ray[rllib]"`, then `python examples/with_rllib.py`.

Install it in an environment of its own: it pins an older Gymnasium, with which lopgym works, too. On Catch without
drift, where a random player gets -0.6 an episode, it ends above 0.
"""

from typing import Any

import gymnasium as gym
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune.registry import register_env


def make_env(config: dict[str, Any]) -> gym.Env[Any, Any]:
    """Make the world that the config names; workers import lopgym by the prefix of the id."""
    world = dict(config)
    return gym.make(f"lopgym:{world.pop('id')}", **world)


def train(id: str, steps: int = 40_000, seed: int = 0, **world: Any) -> float:
    """Train for that many steps; return the mean return of the last iteration's episodes."""
    register_env("lopgym-world", make_env)
    config = (
        PPOConfig()
        .environment("lopgym-world", env_config={"id": id, **world})
        .env_runners(num_env_runners=0)
        .training(train_batch_size_per_learner=1_000, minibatch_size=125, lr=1e-3)
        .debugging(seed=seed)
    )
    algorithm = config.build_algo()
    results = [algorithm.train() for _ in range(steps // 1_000)]
    algorithm.stop()
    return float(results[-1]["env_runners"]["episode_return_mean"])


if __name__ == "__main__":
    print(f"Catch without drift   {train('lopgym/Catch-v0', drifts={}):5.2f}  (random: -0.6)")
    for world in ("Catch", "LabelBandit", "CartPole"):
        print(f"{world:20}  {train(f'lopgym/{world}-v0'):5.2f}")
