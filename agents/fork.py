"""The fork probe inside a Stable-Baselines3 model: how far behind a fresh network its own one has fallen, and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Annotated, Any

import torch
from annotated_types import Ge, Interval
from stable_baselines3.common.callbacks import BaseCallback

from lopgym.agents.agent_state import load_optimizer, optimizer_state
from lopgym.agents.anatomy import Anatomy, anatomy_of
from lopgym.agents.problems import random_problem, source_of, streams
from lopgym.bounds import NonNegativeInt, PositiveInt
from lopgym.probes.fitting import Budget, Problem, Trainee
from lopgym.probes.fork import Trial, compare, restarted, trial
from lopgym.probes.recording import undisturbed
from lopgym.probes.trainability import explained, one_step_losses, one_step_plasticity
from lopgym.seeding import derive

Write = Callable[[int, Mapping[str, float]], None]
Samples = Annotated[int, Interval(gt=0, le=2**16)]  # each is a row of a matrix that is held in memory

ONE_STEP_SAMPLES = 32  # of a problem, each learned by itself in one step
ONE_STEP_PROBLEMS = ("live", "live_value")  # whose loss of a sample is never negative, as a share of it needs


@dataclass(frozen=True)
class Race:
    """One repeat of a fork: what came of each problem, and what was read beside; readings by tag below `probe/`."""

    trials: Mapping[str, Trial]
    readings: Mapping[str, float]


class ForkProbe(BaseCallback):
    """Lets copies of the agent's network race a fresh network, as an ordinary callback that changes nothing.

    It copies network and optimizer as they enter a task, and waits for the data of the task. At the task's end, the
    copies and fresh networks learn what those data ask (`live` for DQN; `live_value` and `live_policy` for PPO) and
    random targets on the same observations (`random`). No mitigation acts in the race, but `trunk`, `head` and
    `optimizer` are those that mitigations left at the task change: in a list of callbacks it stands behind Plasticity.

    Tags are, at the last step of the task,

    - `probe/fork/<problem>/<what>`, as `lopgym.probes.fork.compare` names them;
    - `probe/random_target_fit/<contender>`: share R^2 of the random targets that it has taken on after the race, the
      mean over repeats;
    - `probe/one_step_plasticity/<problem>`, for `live` and `live_value`: share of the loss of one sample that one step
      of plain gradient descent on it takes away, clip(1 - L_after / L_before, 0, 1), at the agent's own learning rate,
      the mean over 32 samples a repeat; and `.../fresh`, the same of the fresh networks.

    Args:
        steps_per_task: env steps over all copies between two task changes.
        every: tasks from one fork to the next; the first is task 0. 0 is never.
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
        every: NonNegativeInt = 1,
        updates: PositiveInt = 100,
        repeats: Annotated[int, Ge(2)] = 5,
        samples: Samples = 256,
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

    def state_dict(self) -> dict[str, Any]:
        """Return the task, the network as it entered it, and what forks have cost so far: a measured time."""
        entered = None
        if self._entered is not None:
            weights = {name: tensor.clone() for name, tensor in self._entered.network.state_dict().items()}
            entered = {"network": weights, "optimizer": optimizer_state(self._entered.optimizer)}
        return {"task": self._task, "entered": entered, "time": self._seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned, once training has begun."""
        self._task, self._entered, self._seconds = state["task"], None, state["time"]
        if (entered := state["entered"]) is not None:
            self._entered = self._copy(self._anatomy)
            self._entered.network.load_state_dict(entered["network"])
            load_optimizer(self._entered.optimizer, entered["optimizer"])

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
            self._entered = self._copy(self._anatomy) if self.every and task % self.every == 0 else None

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
        races = [self._race(entered, heads, budget, repeat) for repeat in range(self.repeats)]
        values = {
            f"probe/fork/{problem}/{what}": value
            for problem in races[0].trials
            for what, value in compare([race.trials[problem] for race in races]).items()
        }
        values |= {f"probe/{tag}": fmean(race.readings[tag] for race in races) for tag in races[0].readings}
        self._seconds += time.process_time() - started
        self.write(self.num_timesteps, values | {"time/fork_cpu_seconds": self._seconds})

    def _race(self, entered: Trainee, heads: frozenset[str], budget: Budget, repeat: int) -> Race:
        """Hold one race on every problem, with streams of its own."""
        seed = derive(self.seed, "fork", self.num_timesteps, repeat)
        seen = self._anatomy.observations(self.samples, torch.Generator().manual_seed(seed))
        with streams(seed):
            problems = self._source.live(self.model, self.samples)
            asking = restarted(entered, self._anatomy.fresh()).network
            fresh = self._anatomy.fresh()
        guess = random_problem(self._source.outputs, asking, seen)
        everything = problems | {"random": guess}
        trials = {name: trial(entered, heads, fresh, problem, budget, seed) for name, problem in everything.items()}
        fits = {
            f"random_target_fit/{name}": explained(loss, guess.spread) for name, loss in trials["random"].losses.items()
        }
        return Race(trials, fits | _one_step(entered, restarted(entered, fresh), problems))


def _one_step(entered: Trainee, fresh: Trainee, problems: Mapping[str, Problem]) -> dict[str, float]:
    """Return by which share, on average, one step on a sample brings down its loss, in this network and a fresh one."""
    rate, found = entered.optimizer.param_groups[0]["lr"], {}
    for name in (name for name in ONE_STEP_PROBLEMS if name in problems):
        few = replace(problems[name], samples=min(problems[name].samples, ONE_STEP_SAMPLES))
        for end, trainee in (("", entered), ("/fresh", fresh)):
            shares = one_step_plasticity(*one_step_losses(trainee.network, few, rate))
            found[f"one_step_plasticity/{name}{end}"] = shares.mean().item()
    return found


def _names_of_heads(anatomy: Anatomy) -> frozenset[str]:
    parts = {id(parameter) for head in anatomy.heads.values() for parameter in head.parameters()}
    return frozenset(name for name, parameter in anatomy.network.named_parameters() if id(parameter) in parts)
