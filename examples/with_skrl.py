# mypy: disable-error-code="import-not-found,import-untyped"
"""skrl's DQN on worlds of lopgym: `pip install skrl`, then `python examples/with_skrl.py` (half a minute).

On Catch without drift, where a random player gets -0.6 an episode, it ends near 1.
"""

from statistics import mean
from typing import Any

import torch
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from skrl.agents.torch.dqn import DQN
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.trainers.torch import SequentialTrainer
from skrl.utils import set_seed
from skrl.utils.model_instantiators.torch import deterministic_model

import lopgym

COPIES = 4
NETWORK = [{"name": "net", "input": "OBSERVATIONS", "layers": [64, 64], "activations": "relu"}]
SETTINGS = {
    "learning_starts": 50,
    "learning_rate": 2e-3,
    "polyak": 0.5,
    "exploration_scheduler": lambda step, steps: max(0.05, 1.0 - 3.0 * step / steps),
    "experiment": {"write_interval": 0, "checkpoint_interval": 0},
}


def train(id: str, steps: int = 20_000, seed: int = 0, **world: Any) -> float:
    """Train for that many steps of all copies together; return the mean return of the last 100 episodes."""
    torch.set_num_threads(1)
    set_seed(seed)  # the world's, too: skrl passes it on at the first reset
    episodes = RecordEpisodeStatistics(lopgym.make_vec(id, COPIES, autoreset_mode="SameStep", **world))
    env = wrap_env(episodes)
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space, "device": env.device}
    names = ("q_network", "target_q_network")
    models = {name: deterministic_model(network=NETWORK, output="ACTIONS", **spaces) for name in names}
    memory = RandomMemory(memory_size=5_000, num_envs=COPIES, device=env.device)
    agent = DQN(models=models, memory=memory, cfg=SETTINGS, state_space=env.state_space, **spaces)
    plan = {"timesteps": steps // COPIES, "headless": True, "disable_progressbar": True}
    SequentialTrainer(env=env, agents=agent, cfg={**plan, "close_environment_at_exit": False}).train()
    env.close()
    return float(mean(episodes.return_queue))


if __name__ == "__main__":
    print(f"Catch without drift   {train('lopgym/Catch-v0', drifts={}):5.2f}  (random: -0.6)")
    for world in ("Catch", "LabelBandit", "CartPole"):
        print(f"{world:20}  {train(f'lopgym/{world}-v0'):5.2f}")
