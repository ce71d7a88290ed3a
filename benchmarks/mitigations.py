"""What mitigations cost: each one's update beside a plain DQN or PPO update, and that of an empty `Plasticity`.

A call is 200 updates of an agent of 2 hidden layers of 64, minibatches of 64, from a replay buffer or a rollout that is
full: what Stable-Baselines3's `train` does and nothing of the world. A method that acts every 200 updates so acts once
a call. PPO has two such networks.
Options are the documented defaults; methods that act at task changes alone do nothing here, and cost what their hooks
cost. All contenders run in one process and in turns, A B C A B C, so that whatever else the machine does meets all of
them. The unit is CPU time (`process_time`); a ratio is the median of the ratios round by round, with the least and the
greatest.

Run it: `OMP_NUM_THREADS=1 python benchmarks/mitigations.py` (some minutes); `--methods redo cbp` is quicker, and
`--json costs.json` keeps the ratios, for `python -m lopgym.studies.mitigation_evidence --costs costs.json`.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import gymnasium as gym
import torch
from probes import Contender, race, report
from stable_baselines3.common.vec_env import DummyVecEnv

import lopgym
from lopgym.agents import Plasticity
from lopgym.agents.dqn import dqn
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.ppo import ppo
from lopgym.probes.memory import keep_freed_memory

UPDATES, BATCH, HIDDEN, STORED = 200, 64, (64, 64), 2000
RECYCLING = ("cbp", "knife", "redo", "redo_fixed_rate", "regrama", "snr", "swr")
MOST = 1.25  # of a plain update: what recycling units may cost
PLAIN, EMPTY = "a plain agent", "an empty Plasticity"
Updates = Callable[[], Any]


def dqn_updates(methods: Sequence[Mitigation], *, attached: bool) -> Updates:
    """Return what takes updates of a DQN with a full buffer."""
    env = DummyVecEnv([lambda: gym.make("CartPole-v1")])
    model = dqn(env, methods, batch_size=BATCH, hidden=HIDDEN, buffer_size=STORED, learning_starts=10 * STORED)
    model.learn(STORED)
    return partial(_in_training(model, methods, attached=attached).train, UPDATES, BATCH)


def ppo_updates(methods: Sequence[Mitigation], *, attached: bool) -> Updates:
    """Return what takes updates of a PPO with a full rollout: ten passes over it."""
    env = DummyVecEnv([lambda: gym.make("CartPole-v1")])
    passes = 10
    model = ppo(env, methods, batch_size=BATCH, hidden=HIDDEN, n_steps=UPDATES // passes * BATCH, n_epochs=passes)
    model.learn(1)
    updates: Updates = _in_training(model, methods, attached=attached).train
    return updates


AGENTS = {"dqn": dqn_updates, "ppo": ppo_updates}


def _in_training(model: Any, methods: Sequence[Mitigation], *, attached: bool) -> Any:
    """Put a model into the middle of `learn`."""
    if attached:
        callback = Plasticity(mitigations={type(m).__name__: m for m in methods}, probe_every=0)
        _, listening = model._setup_learn(10**9, callback, reset_num_timesteps=False)
        listening.on_training_start({"total_timesteps": 10**9}, {})
    else:
        model._setup_learn(10**9, None, reset_num_timesteps=False)
    return model


def contenders(names: Iterable[str], agent: str) -> dict[str, Contender]:
    """Return what is timed: two plain agents and one for each method."""
    updates = partial(AGENTS[agent], attached=True)
    limit = dict.fromkeys(RECYCLING, ("<=", MOST)) if agent == "dqn" else {}
    return {
        PLAIN: Contender(AGENTS[agent]([], attached=False)),
        EMPTY: Contender(updates([]), PLAIN),
        **{name: Contender(updates([mitigations.build(name)]), PLAIN, limit.get(name)) for name in names},
    }


def costs(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return what an update costs in units of a plain one, by method."""
    return {
        name: round(median(mine / plain for mine, plain in zip(times[name], times[PLAIN], strict=True)), 3)
        for name in times
    }


def main(arguments: list[str] | None = None) -> None:
    """Run everything and print it."""
    known = [entry.name for entry in mitigations]
    parser = argparse.ArgumentParser(description="What mitigations cost.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--methods", nargs="*", choices=known, default=known)
    parser.add_argument("--agent", choices=[*AGENTS], default="dqn")
    parser.add_argument("--json", type=Path, help="a file to write the ratios to, by method")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    print(f"Python {platform.python_version()}, torch {torch.__version__}, lopgym {lopgym.__version__}")
    size = f"{UPDATES} updates of {asked.agent} at {HIDDEN}, batch {BATCH}"
    print(f"CPU time of one thread, {size}, {asked.rounds} rounds in turns")
    all_of = contenders(asked.methods, asked.agent)
    times = race(all_of, asked.rounds)
    print(*report(all_of, times), sep="\n")
    if asked.json:
        asked.json.write_text(json.dumps(costs(times), indent=2) + "\n")


if __name__ == "__main__":
    main()
