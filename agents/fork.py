"""The fork probe inside a Stable-Baselines3 model: how far behind a fresh network its own one has fallen, and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback

from lopgym.agents.anatomy import Anatomy, anatomy_of
from lopgym.agents.problems import random_problem, source_of, streams
from lopgym.bounds import PositiveInt
from lopgym.probes.fitting import Budget, Trainee
from lopgym.probes.fork import Trial, compare, restarted, trial
from lopgym.probes.recording import undisturbed
from lopgym.seeding import derive

Write = Callable[[int, Mapping[str, float]], None]


class ForkProbe(BaseCallback):
    """Lets copies of the agent's network race a fresh network, as an ordinary callback that changes nothing.

    It copies network and optimizer as they enter a task, and waits for the data of the task. At the task's end, the
    copies and fresh networks learn what those data ask (`live` for DQN; `live_value` and `live_policy` for PPO) and
    random targets on the same observations (`random`). No mitigation acts in the race, but `trunk`, `head` and
    `optimizer` are those that mitigations left at the task change: in a list of callbacks it stands behind Plasticity.

    Tags are `probe/fork/<problem>/<what>`, as `lopgym.probes.fork.compare` names them, at the last step of the task.

    Args:
        steps_per_task: env steps over all copies between two task changes.
        every: tasks from one fork to the next; the first is task 0.
        updates: gradient steps of each contender.
        repeats: fresh networks, random targets and orders of the data, for the interval; at least 2.
        samples: transitions in a problem.
        write: takes (env step, values).
        seed: of everything that is drawn.

    Raises:
        ValueError: fewer than 2 repeats.
    """

    def __init__(
        self,
        *,
        steps_per_task: PositiveInt,
        every: PositiveInt = 1,
        updates: PositiveInt = 100,
        repeats: int = 5,
        samples: PositiveInt = 256,
        write: Write = lambda step, values: None,
        seed: int = 0,
    ) -> None:
        """Keep the options."""
        super().__init__()
        if repeats < 2:
            raise ValueError(f"repeats={repeats}: an interval needs at least 2")
        self.steps_per_task, self.every, self.updates = steps_per_task, every, updates
        self.repeats, self.samples, self.write, self.seed = repeats, samples, write, seed
        self._entered: Trainee | None = None  # the network as it entered the task, if the task is one to fork
        self._seconds = 0.0

    def _init_callback(self) -> None:
        model: Any = self.model
        self._source = source_of(model)
        self._longest = model.max_grad_norm  # now: while Plasticity trains it clips itself, and this is infinite

    def _on_training_start(self) -> None:
        self._anatomy = anatomy_of(self.model)
        self._entered = None
        self._task = (self.num_timesteps - 1) // self.steps_per_task  # one that training goes on inside is left out

    def _on_rollout_start(self) -> None:
        task = self.num_timesteps // self.steps_per_task
        if task > self._task:
            self._task = task
            self._entered = self._copy(self._anatomy) if task % self.every == 0 else None

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self._entered is not None and self.num_timesteps // self.steps_per_task > self._task:
            self._fork(self._entered)
            self._entered = None

    def _copy(self, anatomy: Anatomy) -> Trainee:
        # A policy keeps its latest action distribution, with a graph that cannot be copied: replace it by one without.
        with undisturbed(anatomy.network):
            anatomy.forward(anatomy.observations(1, torch.Generator()))
        return Trainee(anatomy.network, anatomy.optimizer).copy()

    def _fork(self, entered: Trainee) -> None:
        started = time.process_time()
        model: Any = self.model
        heads = _names_of_heads(self._anatomy)
        budget = Budget(self.updates, model.batch_size, self._longest)
        repeats = [self._race(entered, heads, budget, repeat) for repeat in range(self.repeats)]
        values = {
            f"probe/fork/{problem}/{what}": value
            for problem in repeats[0]
            for what, value in compare([trials[problem] for trials in repeats]).items()
        }
        self._seconds += time.process_time() - started
        self.write(self.num_timesteps, values | {"time/fork_cpu_seconds": self._seconds})

    def _race(self, entered: Trainee, heads: frozenset[str], budget: Budget, repeat: int) -> dict[str, Trial]:
        """Hold one race on every problem, with streams of its own."""
        seed = derive(self.seed, "fork", self.num_timesteps, repeat)
        seen = self._anatomy.observations(self.samples, torch.Generator().manual_seed(seed))
        with streams(seed):
            problems = self._source.live(self.model, self.samples)
            asking = restarted(entered, self._anatomy.fresh()).network
            fresh = self._anatomy.fresh()
        problems["random"] = random_problem(self._source.outputs, asking, seen)
        return {name: trial(entered, heads, fresh, problem, budget, seed) for name, problem in problems.items()}


def _names_of_heads(anatomy: Anatomy) -> frozenset[str]:
    parts = {id(parameter) for head in anatomy.heads.values() for parameter in head.parameters()}
    return frozenset(name for name, parameter in anatomy.network.named_parameters() if id(parameter) in parts)
