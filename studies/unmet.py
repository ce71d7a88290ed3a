"""Unmet: changes of a world that a run is too short to meet. They are no fault, and worth a word."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from lopgym.envs.nonstationary import on_life
from lopgym.schedules import Schedule, from_plain
from lopgym.studies.config import Config

LISTED = 64  # changes to come; a schedule that has more goes on for ever, and no run meets all of it


def unmet(config: Config) -> Iterator[str]:
    """Yield a line for each parameter whose schedule has its last changes behind the end of the run."""
    from lopgym.studies.worlds import world_options  # imports torch

    if config.env.drifts is None:
        return
    total = config.tasks * config.steps_per_task
    for name, drift in on_life(world_options(config)["drifts"], config.env.clocks).items():
        behind = list(islice(_changes(from_plain(drift), total - 1), LISTED + 1))
        if 0 < len(behind) <= LISTED:
            steps = ", ".join(f"{step:,}" for step in behind[:3]) + ("" if len(behind) <= 3 else " ...")
            yield f"env.drifts.{name}: the run ends at step {total:,}, before what changes at {steps}"


def _changes(schedule: Schedule, after: int) -> Iterator[int]:
    step = schedule.next_change(after)
    while step is not None:
        yield step
        step = schedule.next_change(step)
