"""Moments: what only training knows of where its world was, because the agent moved its clocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

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


def read_moment(metrics: Path, step: int) -> Moment:
    """Return the moment at a step, as the `metrics.jsonl` of a run has it for the last one of each task."""
    values = {tag: value for at, some in read_metrics(metrics) if at == step for tag, value in some.items()}
    drift = {tag.removeprefix(DRIFT): value for tag, value in values.items() if tag.startswith(DRIFT)}
    return Moment(drift, int(values.get(EPISODE, 0)))
