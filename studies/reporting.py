"""What a run says of itself while it trains: returns per task, drift, progress, and Stable-Baselines3's own values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger

from lopgym.agents.weights import save_weights
from lopgym.record import Recorder, RunFolder
from lopgym.studies.progress import Progress

FINAL = 0.25  # share of a task, from its end, that `task/final` looks at


class _RecorderWriter(KVWriter):
    """Passes what Stable-Baselines3 logs (`rollout/ train/ time/`) on to the recorder."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        shown = {
            tag: float(value)
            for tag, value in key_values.items()
            if isinstance(value, int | float | np.number) and "tensorboard" not in (key_excluded[tag] or ())
        }
        self._recorder.write(step, shown)

    def close(self) -> None: ...


def logger_into(recorder: Recorder) -> Logger:
    """Make a Stable-Baselines3 logger that writes into `recorder`."""
    return Logger(folder=None, output_formats=[_RecorderWriter(recorder)])


def pending(logger: Logger) -> dict[str, list[Any]]:
    """Return what was logged and is not written yet: name -> value, number of values it is the mean of, exclusions.

    NumPy's scalars become arrays without axes: going on with their mean in another precision would be another mean.
    """
    return {
        name: [
            np.array(value) if isinstance(value, np.generic) else value,
            logger.name_to_count.get(name, 0),
            list(logger.name_to_excluded[name]),
        ]
        for name, value in logger.name_to_value.items()
        if isinstance(value, int | float | np.number)  # nothing else is ever written
    }


def put_back(logger: Logger, values: Mapping[str, Sequence[Any]]) -> None:
    """Let `logger` have what `pending` returned, in place of what it has."""
    for kept in (logger.name_to_value, logger.name_to_count, logger.name_to_excluded):
        kept.clear()
    for name, (value, count, excluded) in values.items():
        logger.name_to_value[name] = cast(float, value[()] if isinstance(value, np.ndarray) else value)
        logger.name_to_excluded[name] = tuple(excluded)
        if count:
            logger.name_to_count[name] = count


class TaskReport(BaseCallback):
    """Writes `task/...` and `drift/...`, and says how far the run is.

    An episode belongs to the task in which it ends. `task/return` is the mean return of the episodes that ended since
    the last report, `task/auc` of the whole task, `task/final` of its last quarter. `task/reward_rate` is the mean
    reward of a step over the whole task: the score of worlds without episodes, or whose episodes end when all is won.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        steps_per_task: int,
        report_every: int,
        on_progress: Callable[[Progress], None] | None = None,
        label: str = "",
        tasks: int = 1,
    ) -> None:
        """Report to `recorder` every `report_every` env steps and at the end of every task."""
        super().__init__()
        self._recorder, self._steps_per_task, self._report_every = recorder, steps_per_task, report_every
        self._on_progress, self._label, self._tasks = on_progress, label, tasks
        self._report_at = report_every
        self._ended: list[tuple[int, float]] = []  # (step within the task, return) of this task's episodes
        self._reported = 0  # how many of them `task/return` has covered
        self._earned = 0.0  # reward in this task, over all copies
        self._drift: Mapping[str, float] = {}

    def _on_step(self) -> bool:
        infos, normalizer = self.locals["infos"], self.model.get_vec_normalize_env()
        rewards = self.locals["rewards"] if normalizer is None else normalizer.get_original_reward()
        self._earned += float(np.sum(rewards))
        self._drift = infos[0].get("drift", {})
        within = (self.num_timesteps - 1) % self._steps_per_task + 1
        self._ended += [(within, info["episode"]["r"]) for info in infos if "episode" in info]
        if self.num_timesteps >= self._report_at or within == self._steps_per_task:
            self._report()
        if within == self._steps_per_task:
            self._close_task()
        return True

    def _report(self) -> None:
        self._report_at = self.num_timesteps + self._report_every
        task = (self.num_timesteps - 1) // self._steps_per_task
        recent = [r for _, r in self._ended[self._reported :]]
        self._reported = len(self._ended)
        values = {"task/index": float(task)} | {f"drift/{name}": value for name, value in self._drift.items()}
        self._recorder.write(self.num_timesteps, values | _mean("task/return", recent))
        model: Any = self.model
        model.dump_logs()
        if self._on_progress is not None:
            mean = float(np.mean(recent)) if recent else math.nan
            total = self._tasks * self._steps_per_task
            self._on_progress(Progress(self._label, task, self._tasks, self.num_timesteps, total, mean))

    def _close_task(self) -> None:
        last = [r for step, r in self._ended if step > (1 - FINAL) * self._steps_per_task]
        whole = [r for _, r in self._ended]
        rate = {"task/reward_rate": self._earned / self._steps_per_task}
        self._recorder.write(self.num_timesteps, _mean("task/auc", whole) | _mean("task/final", last) | rate)
        self._ended, self._reported, self._earned = [], 0, 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered between two steps, and what Stable-Baselines3 has logged since the last report."""
        return {
            "report_at": self._report_at,
            "ended": [[within, float(ret)] for within, ret in self._ended],
            "reported": self._reported,
            "earned": self._earned,
            "pending": pending(self.logger),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned; there is a model, and a logger, by then."""
        self._report_at, self._reported, self._earned = state["report_at"], state["reported"], state["earned"]
        self._ended = [(within, ret) for within, ret in state["ended"]]
        put_back(self.logger, state["pending"])


def _mean(tag: str, values: list[float]) -> dict[str, float]:
    return {tag: float(np.mean(values))} if values else {}


class KeepWeights(BaseCallback):
    """Saves the network at the end of each task, after the last update on it, as `checkpoints/task-<k>.npz`."""

    def __init__(self, folder: RunFolder, steps_per_task: int) -> None:
        """Save into `folder`."""
        super().__init__()
        self._folder, self._steps_per_task, self._saved = folder, steps_per_task, 0

    def _on_rollout_start(self) -> None:
        ended = self.num_timesteps // self._steps_per_task
        if ended > self._saved:
            save_weights(self.model, self._folder.checkpoints / f"task-{ended - 1}.npz")
            self._saved = ended

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._on_rollout_start()

    def state_dict(self) -> dict[str, Any]:
        """Return how many tasks have been saved."""
        return {"saved": self._saved}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._saved = state["saved"]
