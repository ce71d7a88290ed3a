# mypy: disable-error-code="import-not-found"
"""skrl's DQN on worlds of lopgym: `pip install skrl`, then `python examples/with_skrl.py`.

On Catch without drift, where a random player gets -0.6 an episode, it ends above 0.
"""

from statistics import mean
from typing import Any

import gymnasium as gym
import torch
from skrl.agents.torch.dqn import DQN, DQN_CFG
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.trainers.torch import SequentialTrainer
from skrl.utils.model_instantiators.torch import deterministic_model

import lopgym

COPIES = 4
NETWORK = [{"name": "net", "input": "OBSERVATIONS", "layers": [64, 64], "activations": "relu"}]


def train(id: str, steps: int = 20_000, seed: int = 0, **world: Any) -> float:
    """Train for that many steps of all copies together; return the mean return of the last episodes."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    wrappers = [gym.wrappers.RecordEpisodeStatistics]
    envs: Any = lopgym.make_vec(id, COPIES, vectorization_mode="sync", wrappers=wrappers, **world)
    env = wrap_env(envs)
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space, "device": env.device}
    models = {
        name: deterministic_model(network=NETWORK, output="ACTIONS", **spaces)
        for name in ("q_network", "target_q_network")
    }
    settings = DQN_CFG()
    settings.learning_starts = 50
    settings.experiment.write_interval = settings.experiment.checkpoint_interval = 0
    memory = RandomMemory(memory_size=5_000, num_envs=COPIES, device=env.device)
    agent = DQN(models=models, memory=memory, cfg=settings, state_space=env.state_space, **spaces)
    plan = {"timesteps": steps // COPIES, "headless": True, "disable_progressbar": True}
    SequentialTrainer(env=env, agents=agent, cfg=plan).train()
    return float(mean(total for copy in envs.envs for total in copy.return_queue))


if __name__ == "__main__":
    print(f"Catch without drift   {train('lopgym/Catch-v0', drifts={}):5.2f}  (random: -0.6)")
    for world in ("Catch", "LabelBandit", "CartPole"):
        print(f"{world:20}  {train(f'lopgym/{world}-v0'):5.2f}")
