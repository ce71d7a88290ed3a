"""What durability costs: training with and without the guard, the journal and checkpoints; what a checkpoint takes.

A call builds a study as it comes, world, agent, probes and protocol, and trains it a little. What guards and keeps it
changes no number of the training, so that all contenders of a study do the very same work, call by call. The journal is
for separate copies, as of a world that is not ours: `CartPole-v1`, by the agent of `custom`, which is guarded, too. All
contenders of a study run in one process and in turns, A B C A B C, so that whatever else the machine does meets all of
them. The unit is CPU time (`process_time`); a ratio is the median of the ratios round by round, with the least and the
greatest. Checkpoints, one a task, are written to the folder of temporary files. A checkpoint by itself is timed by the
clock, disk included.

Run it: `OMP_NUM_THREADS=1 python benchmarks/durability.py` (some minutes); `--rounds 5 --studies catch_dqn` is quicker,
and `--json costs.json` keeps the ratios and the milliseconds.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Self
from unittest.mock import patch

import torch
from gymnasium.vector import SyncVectorEnv
from probes import Contender, race, report
from stable_baselines3.common.callbacks import BaseCallback

import lopgym
from lopgym.agents.agent_state import restore, state_of
from lopgym.agents.attach import Plasticity
from lopgym.agents.finite_guard import FiniteGuard, GuardUpdates
from lopgym.agents.luck import restore_luck, state_of_luck
from lopgym.agents.vec_env import GymVecEnv
from lopgym.envs.journal import Journal, Journals
from lopgym.probes.memory import keep_freed_memory
from lopgym.record import Recorder
from lopgym.studies.callbacks import plasticity_of
from lopgym.studies.checkpointing import ByFunctions, Checkpointing, Part
from lopgym.studies.compose import Config, from_keywords
from lopgym.studies.run import build_model, execute
from lopgym.studies.termination import Stop
from lopgym.studies.worlds import vector_world


@dataclass(frozen=True)
class Kept:
    """What guards and keeps a training."""

    guard: bool = False
    journal: bool = False
    checkpoints: bool = False


STUDIES: dict[str, dict[str, Any]] = {
    "catch_dqn": {"tasks": 2, "steps_per_task": 400},
    "label_bandit_ppo": {"tasks": 1},
    "custom": {"tasks": 1, "env.id": "CartPole-v1", "steps_per_task": 2048, "probe_every": 1024},
}
PLAIN = "nothing"
OF_BATCHES = {PLAIN: Kept(), "the guard": Kept(guard=True), "checkpoints": Kept(checkpoints=True)}
OF_COPIES = {
    PLAIN: Kept(),
    "the guard": Kept(guard=True),
    "the journal": Kept(journal=True),
    "the guard and the journal": Kept(guard=True, journal=True),
    "both, and checkpoints": Kept(guard=True, journal=True, checkpoints=True),
}
GOALS = {"the guard": 1.05, "the journal": 1.05, "the guard and the journal": 1.05}  # of the training without
MILLISECONDS = {"catch_dqn": 150.0}  # that a checkpoint may take
CHECKPOINTS = 20  # that are timed


class Training:
    """A study that is trained with what guards and keeps it."""

    def __init__(self, config: Config, folder: Path, kept: Kept) -> None:
        """Build it; `folder` is for its checkpoints."""
        self._config = config
        copies = _copies(config, kept)
        world = FiniteGuard(copies, limit=config.guard.limit) if kept.guard else copies
        self._model = build_model(config, world, {})
        plasticity = plasticity_of(config, {}, Recorder([]))
        about: dict[str, Any] = {"files": dict, "about": {}, "stop": Stop(), **config.checkpoint.model_dump()}
        keeper = Checkpointing(folder, _parts(self._model, copies, plasticity), **about)
        self._last = keeper.at_the_end()
        guards = [GuardUpdates()] * kept.guard
        first, final = [self._last] * kept.checkpoints, [keeper] * kept.checkpoints
        self._callbacks: list[BaseCallback] = [*first, plasticity, *guards, *final]

    def learn(self) -> Self:
        """Train for all tasks."""
        total = self._config.tasks * self._config.steps_per_task
        self._model.learn(total, callback=self._callbacks, log_interval=None)
        return self

    def checkpoint(self) -> float:
        """Keep one; return how many milliseconds it took."""
        began = time.perf_counter()
        self._last.on_training_end()
        return 1e3 * (time.perf_counter() - began)


def _copies(config: Config, kept: Kept) -> GymVecEnv:
    """Build the world as a run does, with journals only where they are asked for."""
    copies = vector_world(config, config.env.n_envs)
    if kept.journal:
        assert isinstance(copies, SyncVectorEnv), "what has a native batch needs no journal"
        copies = Journals(copies)
    return GymVecEnv(copies, seed=config.seed)


def _parts(model: Any, copies: GymVecEnv, plasticity: Plasticity) -> dict[str, Part]:
    """Return what a run of so little has to remember."""
    return {
        "agent": ByFunctions(partial(state_of, model), partial(restore, model)),
        "world": copies,
        "plasticity": plasticity,
        "luck": ByFunctions(partial(state_of_luck, model), partial(restore_luck, model)),
    }


def contenders(config: Config, folder: Path) -> dict[str, Contender]:
    """Return the trainings of a study that are timed, by what guards and keeps them."""
    goals = {name: ("<=", limit) for name, limit in GOALS.items()}
    return {
        name: Contender(partial(_train, config, folder, kept), "" if name == PLAIN else PLAIN, goals.get(name))
        for name, kept in _choices(config).items()
    }


def _choices(config: Config) -> dict[str, Kept]:
    return OF_COPIES if config.study == "custom" else OF_BATCHES


def _train(config: Config, folder: Path, kept: Kept) -> Training:
    return Training(config, folder, kept).learn()


def share(mine: Sequence[float], plain: Sequence[float]) -> float:
    """Return how many times the CPU time of the plain training another one takes."""
    return median(one / other for one, other in zip(mine, plain, strict=True))


def measure(study: str, rounds: int) -> dict[str, float]:
    """Measure one study, print its table, and return ratios by name and the milliseconds of a checkpoint."""
    config = from_keywords(study, **STUDIES[study])
    print(f"\n{study}, {config.tasks} tasks of {config.steps_per_task:,} steps; beside training:")
    with tempfile.TemporaryDirectory() as folder:
        all_of = contenders(config, Path(folder))
        times = race(all_of, rounds)
        print(*report(all_of, times), sep="\n")
        *_, everything = _choices(config).values()
        trained = _train(config, Path(folder), everything)
        took = [trained.checkpoint() for _ in range(CHECKPOINTS)]
    share_of_all = inside(study)
    limit = MILLISECONDS.get(study)
    verdict = "" if limit is None else f"; <= {limit:g}: {_verdict(median(took) <= limit)}"
    print(f"  a checkpoint: {median(took):.1f} ms [{min(took):.1f}-{max(took):.1f}]{verdict}")
    spent = f"{share_of_all:.1%} of a whole run; <= 5 %: {_verdict(share_of_all <= 0.05)}"
    print(f"  inside the guard and the journal: {spent}")
    ratios = {name: round(share(times[name], times[PLAIN]), 4) for name in times if name != PLAIN}
    return ratios | {"milliseconds of a checkpoint": round(median(took), 1), "inside": round(share_of_all, 4)}


def _verdict(met: bool) -> str:
    return "met" if met else "missed"


def _timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """Return a function that notes the CPU seconds that it takes."""

    def timed(*arguments: Any, **options: Any) -> Any:
        began = time.thread_time()
        result = function(*arguments, **options)
        spent.append(time.thread_time() - began)
        return result

    return timed


def inside(study: str) -> float:
    """Return the share of a whole run's CPU time that is spent inside the guard and the journal.

    Where it is small, this is surer than a ratio of two trainings, each of which is as long by chance.
    """
    guard, journal, worlds = list[float](), list[float](), list[float]()
    step = Journal.step

    def apart(self: Journal, action: Any) -> Any:
        with patch.object(self.env, "step", _timed(self.env.step, worlds)):
            return step(self, action)

    with tempfile.TemporaryDirectory() as folder, ExitStack() as patched:
        for owner, name in (
            (FiniteGuard, "_check"),
            (GuardUpdates, "_before_step"),
            (GuardUpdates, "_on_rollout_start"),
        ):
            patched.enter_context(patch.object(owner, name, _timed(getattr(owner, name), guard)))
        patched.enter_context(patch.object(Journal, "step", _timed(apart, journal)))
        began = time.thread_time()
        execute(from_keywords(study, runs_dir=folder, **STUDIES[study]))
        total = time.thread_time() - began
    return (sum(guard) + sum(journal) - sum(worlds)) / total


def main(arguments: list[str] | None = None) -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description="What the guard, the journal and checkpoints cost.")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--studies", nargs="*", choices=[*STUDIES], default=[*STUDIES])
    parser.add_argument("--json", type=Path, help="a file to write the ratios to, by study and name")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keep_freed_memory()
    print(f"Python {platform.python_version()}, torch {torch.__version__}, lopgym {lopgym.__version__}")
    print(f"CPU time of one thread, median of {asked.rounds} rounds in turns")
    found = {study: measure(study, asked.rounds) for study in asked.studies}
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
