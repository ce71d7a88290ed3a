"""The clock of a changing world: which step it is, which values hold then, and how many tasks have gone by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lopgym.schedules import Schedule, from_plain, seeded
from lopgym.seeding import derive

Drifts = Mapping[str, Schedule | float | Mapping[str, Any]]  # by parameter; a bare number means a constant


class DriftClock:
    """Time, and what follows from it: the value of every schedule and the number of the task.

    A task change is a step at which at least one schedule jumps, so parameters that jump together are one change.

    Attributes:
        t: the step that comes next, in total environment steps.
        values: parameter -> value at t; replaced, never altered, when something moves.
        task: number of distinct steps in (0, t] at which a schedule jumped.
    """

    def __init__(self, drifts: Drifts, world_seed: int) -> None:
        """Start at step 0. Random schedules without a seed get one of (`world_seed`, name of the parameter)."""
        self.schedules = {
            name: seeded(from_plain(drift), derive(world_seed, "drift", name)) for name, drift in drifts.items()
        }
        self._smooth = [name for name, schedule in self.schedules.items() if schedule.smooth]
        self.t = self.task = 0
        self.values = self._all_values()
        self._next_jump = self._jump_after(0)
        self._due = self._when_due()

    def advance(self, steps: int) -> bool:
        """Move on by `steps`; say whether anything may have moved. Between changes this is one comparison."""
        self.t += steps
        if self._due is None or self.t < self._due:
            return False
        if self._next_jump is not None and self._next_jump <= self.t:
            self._count_jumps()
            self.values = self._all_values()
        else:
            self.values = self.values | {name: float(self.schedules[name](self.t)) for name in self._smooth}
        self._due = self._when_due()
        return True

    def seek(self, t: int) -> None:
        """Go to step t, forwards or back."""
        if t < self.t:
            self.task, self._next_jump = 0, self._jump_after(0)
        self.t = t
        self._count_jumps()
        self.values = self._all_values()
        self._due = self._when_due()

    def _count_jumps(self) -> None:
        while self._next_jump is not None and self._next_jump <= self.t:
            self.task += 1
            self._next_jump = self._jump_after(self._next_jump)

    def _jump_after(self, t: int) -> int | None:
        jumps = [schedule.next_change(t) for schedule in self.schedules.values()]
        return min((jump for jump in jumps if jump is not None), default=None)

    def _when_due(self) -> int | None:
        return self.t + 1 if self._smooth else self._next_jump

    def _all_values(self) -> dict[str, float]:
        return {name: float(schedule(self.t)) for name, schedule in self.schedules.items()}
