"""The clock of a changing world: which step it is, which values hold then, and how many tasks have gone by."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import inf, lcm
from typing import Any, cast

from lopgym.schedules import Count, Schedule, from_plain, seeded
from lopgym.seeding import derive

Drifts = Mapping[str, Schedule | float | Mapping[str, Any]]  # by parameter; a bare number means a constant


class DriftClock:
    """Time, and what follows from it: the value of every schedule and the number of the task.

    A task change is a step at which at least one schedule jumps, so parameters that jump together are one change.

    Attributes:
        t: the step that comes next, in total environment steps.
        values: parameter -> value at t; replaced, never altered, when something moves.
        task: number of distinct steps in (0, t] at which a schedule jumped.
        due: the step from which on all this has to be brought up to date, by `arrive`; infinite if there is none.
    """

    def __init__(self, drifts: Drifts, world_seed: int) -> None:
        """Start at step 0. Random schedules without a seed get one of (`world_seed`, name of the parameter)."""
        self.schedules = realised(drifts, world_seed)
        self._smooth = [(name, schedule) for name, schedule in self.schedules.items() if schedule.smooth]
        periods = _jump_periods(self.schedules)
        self._round = lcm(*periods) if periods else None  # steps after which the jumps repeat
        self.t = self.task = 0
        self.values = self._all_values()
        self._next_jump = self._jump_after(0)
        self.due = self._when_due()

    def advance(self, steps: int) -> bool:
        """Move on by `steps`; say whether anything may have moved. Between changes this is one comparison."""
        self.t += steps
        if self.t < self.due:
            return False
        self.arrive()
        return True

    def arrive(self) -> None:
        """Bring everything up to step `t`, which somebody has moved on until it was due."""
        t = self.t
        if self._next_jump is not None and self._next_jump <= t:
            self._count_jumps()
            self.values = self._all_values()
            self.due = self._when_due()
            return
        values = self.values.copy()
        for name, schedule in self._smooth:
            values[name] = float(schedule(t))
        self.values, self.due = values, t + 1

    def seek(self, t: int) -> None:
        """Go to step t, forwards or back. Where all jumps are periodic, whole rounds of them are counted at once."""
        rounds = t // self._round if self._round else 0
        start = rounds * (self._round or 0)
        if t < self.t or start > self.t:
            self.task, self._next_jump = rounds * self._jumps_a_round if rounds else 0, self._jump_after(start)
        self.t = t
        self._count_jumps()
        self.values = self._all_values()
        self.due = self._when_due()

    @cached_property
    def _jumps_a_round(self) -> int:
        periods = _jump_periods(self.schedules) or set()
        return len({step for period in periods for step in range(period, lcm(*periods) + 1, period)})

    def _count_jumps(self) -> None:
        while self._next_jump is not None and self._next_jump <= self.t:
            self.task += 1
            self._next_jump = self._jump_after(self._next_jump)

    def _jump_after(self, t: int) -> int | None:
        jumps = [schedule.next_change(t) for schedule in self.schedules.values()]
        return min((jump for jump in jumps if jump is not None), default=None)

    def _when_due(self) -> float:
        return self.t + 1 if self._smooth else inf if self._next_jump is None else self._next_jump

    def _all_values(self) -> dict[str, float]:
        return {name: float(schedule(self.t)) for name, schedule in self.schedules.items()}


def realised(drifts: Drifts, world_seed: int) -> dict[str, Schedule]:
    """Return the schedules of a world: random ones without a seed get one of (`world_seed`, name of the parameter)."""
    return {
        name: seeded(schedule, derive(world_seed, "drift", name)) for name, schedule in as_schedules(drifts).items()
    }


def as_schedules(drifts: Drifts) -> dict[str, Schedule]:
    """Return drifts as schedules.

    Raises:
        ValueError: one is none; the message names the parameter.
    """
    made = {}
    for name, drift in drifts.items():
        try:
            made[name] = from_plain(drift)
        except ValueError as error:
            raise ValueError(f"drift of {name}: {error}") from None
    return made


def _jump_periods(schedules: Mapping[str, Schedule]) -> set[int] | None:
    """Return the periods of the schedules that jump, None if one of them does not jump at every multiple of one."""
    jumping = [cast(Any, schedule) for schedule in schedules.values() if schedule.next_change(0) is not None]
    in_blocks = all(type(schedule).next_change is Count.next_change for schedule in jumping)
    return {schedule.period for schedule in jumping} if in_blocks else None
