"""What mitigations cost: each one's update beside a plain DQN update, and beside one with an empty `Plasticity`.

A call is 200 updates of a DQN of 2 hidden layers of 64, minibatches of 64, from a replay buffer that is full: what
Stable-Baselines3's `train` does and nothing of the world. A method that acts every 200 updates so acts once a call.
Options are the documented defaults; methods that act at task changes alone do nothing here, and cost what their hooks
cost. All contenders run in one process and in turns, A B C A B C, so that whatever else the machine does meets all of
them. The unit is CPU time (`process_time`); a ratio is the median of the ratios round by round, with the least and the
greatest.

Run it: `OMP_NUM_THREADS=1 python benchmarks/mitigations.py` (some minutes); `--methods redo cbp` is quicker.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import torch
from probes import Contender, race, report
from stable_baselines3.common.vec_env import DummyVecEnv

import lopgym
from lopgym.agents import Plasticity
from lopgym.agents.dqn import dqn
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.probes.memory import keep_freed_memory

UPDATES, BATCH, HIDDEN, STORED = 200, 64, (64, 64), 2000
RECYCLING = ("cbp", "knife", "redo", "redo_fixed_rate", "regrama", "snr", "swr")
MOST = 1.25  # of a plain update: what recycling units may cost
PLAIN, EMPTY = "plain DQN", "an empty Plasticity"


def model_in_training(methods: Sequence[Mitigation], *, attached: bool) -> Any:
    """Return a DQN with a full buffer, in the middle of `learn`."""
    env = DummyVecEnv([lambda: gym.make("CartPole-v1")])
    model = dqn(env, methods, batch_size=BATCH, hidden=HIDDEN, buffer_size=STORED, learning_starts=10 * STORED)
    model.learn(STORED)
    if attached:
        callback = Plasticity(mitigations={type(m).__name__: m for m in methods}, probe_every=0)
        _, listening = model._setup_learn(10**9, callback, reset_num_timesteps=False)
        listening.on_training_start({"total_timesteps": 10**9}, {})
    else:
        model._setup_learn(10**9, None, reset_num_timesteps=False)
    return model


def contenders(names: Iterable[str]) -> dict[str, Contender]:
    """Return what is timed: two plain agents and one for each method."""

    def updates(*methods: Mitigation, attached: bool = True) -> Any:
        return partial(model_in_training(methods, attached=attached).train, UPDATES, BATCH)

    limit = dict.fromkeys(RECYCLING, ("<=", MOST))
    return {
        PLAIN: Contender(updates(attached=False)),
        EMPTY: Contender(updates(), PLAIN),
        **{name: Contender(updates(mitigations.build(name)), PLAIN, limit.get(name)) for name in names},
    }


def main(arguments: list[str] | None = None) -> None:
    """Run everything and print it."""
    known = [entry.name for entry in mitigations]
    parser = argparse.ArgumentParser(description="What mitigations cost.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--methods", nargs="*", choices=known, default=known)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    print(f"Python {platform.python_version()}, torch {torch.__version__}, lopgym {lopgym.__version__}")
    print(f"CPU time of one thread, {UPDATES} updates at {HIDDEN}, batch {BATCH}, {asked.rounds} rounds in turns")
    all_of = contenders(asked.methods)
    print(*report(all_of, race(all_of, asked.rounds)), sep="\n")


if __name__ == "__main__":
    main()
