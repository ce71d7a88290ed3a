"""What the schedules of a clock say at any of its counts, for all copies at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.drift_clock import DriftClock
from lopgym.schedules import Schedule

Counts = NDArray[np.int64]

_FIRST = 256  # entries of a new table
_NEAR = 1 << 16  # counts that a table is made for, however suddenly they come


class ClockTable:
    """The schedules of one clock at k = 0, 1, 2, ...: asked once for every k, then looked up.

    A k far ahead, to which an episode was sent or restored, is asked for alone: going there costs what `DriftClock`
    needs to count the jumps up to it, not a look at every k before.
    """

    def __init__(self, schedules: Mapping[str, Schedule]) -> None:
        """Know nothing yet. Every random schedule has its seed."""
        self._walker, self._seeker = DriftClock(schedules, 0), DriftClock(schedules, 0)
        self._values = {name: np.empty(0) for name in schedules}
        self._jumps: Counts = np.empty(0, dtype=np.int64)
        self._far: dict[int, tuple[dict[str, float], int]] = {}

    def values(self, k: Counts) -> dict[str, NDArray[np.float64]]:
        """Return parameter -> values at counts of shape (N,), of that shape."""
        if self._reaches(int(k.max())):
            return {name: values[k] for name, values in self._values.items()}
        told = [self._told(one)[0] for one in k.tolist()]
        return {name: np.array([values[name] for values in told]) for name in self._values}

    def jumps(self, k: Counts) -> Counts:
        """Return the number of distinct counts in (0, k] at which a schedule jumped, shape (N,) each."""
        if self._reaches(int(k.max())):
            counted: Counts = self._jumps[k]
            return counted
        return np.array([self._told(one)[1] for one in k.tolist()])

    def _reaches(self, k: int) -> bool:
        """Say whether k is in the table, made longer if k is not far."""
        known = len(self._jumps)
        if k >= max(known, _NEAR, 2 * known):
            return False
        if k >= known:
            self._walk(max(_FIRST, 2 * known, k + 1))
        return True

    def _walk(self, size: int) -> None:
        values, jumps = [], []
        for _ in range(len(self._jumps), size):
            values.append([*self._walker.values.values()])
            jumps.append(self._walker.task)
            self._walker.advance(1)
        for name, more in zip(self._walker.values, zip(*values, strict=True), strict=True):
            self._values[name] = np.append(self._values[name], more)
        self._jumps = np.append(self._jumps, jumps)

    def _told(self, k: int) -> tuple[dict[str, float], int]:
        if k not in self._far:
            self._seeker.seek(k)
            self._far[k] = self._seeker.values, self._seeker.task
        return self._far[k]
