"""Moments: what only training knows of where its world was, because the agent moved its clocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from lopgym.record import read_metrics

EPISODE, DRIFT = "clock/episode", "drift/"  # tags


def agent_moves(clocks: Mapping[str, str]) -> bool:
    """Whether how far the clocks have come depends on what the agent did: on how its episodes ended, what they paid."""
    return not {"episode", "trigger"}.isdisjoint(clocks.values())


@dataclass(frozen=True)
class Moment:
    """Where the life of a world was; of several copies, the first one's.

    Args:
        drift: parameter -> value in force during the last step.
        episode: how many episodes had ended.
    """

    drift: Mapping[str, float] = field(default_factory=dict)
    episode: int = 0


class KeepMoments(BaseCallback):
    """Remembers the latest moment of every task, and writes the number of the episode at its end."""

    def __init__(self, moments: dict[int, Moment], steps_per_task: int, write: Callable[..., None]) -> None:
        """Keep `moments` up to date, by task; `write` takes (env step, values)."""
        super().__init__()
        self._moments, self._steps_per_task, self._write = moments, steps_per_task, write
        self._episode = 0

    def _on_step(self) -> bool:
        self._episode += int(self.locals["dones"][0])
        task, within = divmod(self.num_timesteps - 1, self._steps_per_task)
        self._moments[task] = Moment(self.locals["infos"][0]["drift"], self._episode)
        if within + 1 == self._steps_per_task:
            self._write(self.num_timesteps, {EPISODE: self._episode})
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return the moments as plain data, and the number of the episode."""
        moments = {
            task: {"drift": {name: _plain(value) for name, value in moment.drift.items()}, "episode": moment.episode}
            for task, moment in self._moments.items()
        }
        return {"moments": moments, "episode": self._episode}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned; others that look at the moments see it."""
        self._episode = state["episode"]
        self._moments.clear()
        self._moments.update({task: Moment(dict(of["drift"]), of["episode"]) for task, of in state["moments"].items()})


def _plain(value: Any) -> Any:
    """Return a number of NumPy's as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def read_moment(metrics: Path, step: int) -> Moment:
    """Return the moment at a step, as the `metrics.jsonl` of a run has it for the last one of each task."""
    values = {tag: value for at, some in read_metrics(metrics) if at == step for tag, value in some.items()}
    drift = {tag.removeprefix(DRIFT): value for tag, value in values.items() if tag.startswith(DRIFT)}
    return Moment(drift, int(values.get(EPISODE, 0)))
