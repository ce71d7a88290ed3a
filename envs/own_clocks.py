"""Clocks beside the life of the world: the episodes of a copy, the steps in one, the firings of a trigger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.clock_table import ClockTable
from lopgym.envs.drift_clock import Drifts, realised
from lopgym.envs.triggered import Trigger, Watch
from lopgym.envs.world import Mask
from lopgym.registry import nearest

ClockName = Literal["life", "episode", "step", "trigger"]
Clocks = Mapping[str, ClockName]  # by parameter; who is not named follows the life
Copies = Mask | NDArray[np.int64]  # those of a mask, or of these indices

_UNSEEN = -1  # "begun" before any firing: the trigger leaves the episode out


class OwnClocks:
    """What N copies count for themselves, and the parameters that follow it instead of the life of the world.

    A clock's schedules are functions of its count k: of `episode`, the episodes that a copy began before this one; of
    `step`, the steps it took in this one; of `trigger`, how often the trigger, one for all copies, has fired.

    Attributes:
        watch: what the trigger has seen; None without one.
        frozen: whether episodes are not counted and the trigger sees nothing.
    """

    def __init__(
        self,
        drifts: Drifts,
        clocks: Clocks,
        trigger: Trigger | Mapping[str, Any] | None,
        world_seed: int,
        num_envs: int = 1,
    ) -> None:
        """Take the drifts that are on these clocks; the world seed means what it means for `DriftClock`.

        Raises:
            ValueError: a clock is unknown, is of a parameter that does not drift, or lacks its trigger.
        """
        check_clocks(clocks, drifts, trigger)
        schedules = realised({name: drifts[name] for name in drifts if clocks.get(name, "life") != "life"}, world_seed)
        self._tables = {
            clock: ClockTable({name: schedule for name, schedule in schedules.items() if clocks[name] == clock})
            for clock in get_args(ClockName)
            if clock in {clocks[name] for name in schedules}
        }
        self.watch = None if trigger is None else Watch(Trigger.of(trigger))
        self.frozen = False
        self._calls = 0  # steps of all copies
        self._calls_before = np.zeros(num_envs, dtype=np.int64)  # this episode of each copy
        self._fewest_before = 0  # at most the least of these
        self._episode = np.full(num_envs, -1)  # counted if a parameter is on that clock
        self._began, self._return = np.zeros(num_envs, dtype=np.int64), np.zeros(num_envs)  # of this episode

    def __bool__(self) -> bool:
        """Whether any parameter is on one of these clocks."""
        return bool(self._tables)

    def __contains__(self, clock: str) -> bool:
        """Whether any parameter is on this one."""
        return clock in self._tables

    @property
    def elapsed(self) -> NDArray[np.int64]:
        """Steps that each copy took in its episode, shape (N,)."""
        return self._calls - self._calls_before

    def begin(self, copies: Copies, t: int, number: int | None = None) -> None:
        """Begin an episode of some copies, bool (N,) or indices, before step t; `number` says which one it is."""
        self._calls_before[copies] = self._calls
        if "episode" in self:
            next_one = np.maximum(self._episode[copies], 0) if self.frozen else self._episode[copies] + 1
            self._episode[copies] = next_one if number is None else number
        if self.watch is not None:
            self._return[copies], self._began[copies] = 0.0, _UNSEEN if self.frozen else t

    def stepped(self, reward: Any, t: int) -> bool:
        """Count a step of all copies, before step t; say whether the cap of the trigger fires."""
        self._calls += 1
        if self.watch is None or self.frozen:
            return False
        self._return += reward
        return self.watch.passed(t)

    def as_old_as(self, steps: int) -> Mask | None:
        """Return which copies took that many steps in their episode, bool (N,); None, mostly at once, if none did."""
        if self._calls - self._fewest_before < steps:
            return None
        self._fewest_before = int(self._calls_before.min())
        return self.elapsed >= steps

    def ended(self, copies: Mask, t: int) -> bool:
        """Tell the trigger, copy by copy, of episodes that end before step t; say whether it fires."""
        if self.watch is None or self.frozen:
            return False
        ends = zip(self._return[copies].tolist(), self._began[copies].tolist(), strict=True)
        fired = [self.watch.ended(earned, began, t) for earned, began in ends]  # all are heard
        return any(fired)

    def seek(self, t: int, *, new_life: bool) -> None:
        """Go to step t of the life, or of a new one; episodes go on counting unless it is new."""
        if new_life:
            self._episode[:] = -1
        if self.watch is not None:
            self.watch.seek(t, new_life=new_life)

    def freeze(self, frozen: bool) -> None:
        """Stop counting, or go on; the trigger sees whole episodes only, so it leaves out the one that is on."""
        self.frozen = frozen
        self._began[:] = _UNSEEN

    def values(self, *clocks: str) -> dict[str, NDArray[np.float64]]:
        """Return parameter -> value for each copy, shape (N,), of these clocks; of all if none is named."""
        return {
            name: values
            for clock, table in self._tables.items()
            if not clocks or clock in clocks
            for name, values in table.values(self._count(clock)).items()
        }

    def tasks(self) -> NDArray[np.int64]:
        """Return how many task changes on these clocks each copy has behind it, shape (N,).

        Every clock counts the distinct k at which a schedule of its own jumped. Steps in an episode do not count: what
        they bring comes back with every episode.
        """
        total = np.zeros_like(self._episode)
        for clock, table in self._tables.items():
            total += 0 if clock == "step" else table.jumps(self._count(clock))
        return total

    def snapshot(self) -> dict[str, Any]:
        """Return all counts as plain data."""
        return {
            "episode": self._episode.tolist(),
            "elapsed": self.elapsed.tolist(),
            "began": self._began.tolist(),
            "return": self._return.tolist(),
            "frozen": self.frozen,
            "trigger": None if self.watch is None else self.watch.snapshot(),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Count on from a snapshot."""
        self._episode[:] = snapshot["episode"]
        self._calls, self._calls_before[:] = 0, np.negative(snapshot["elapsed"])
        self._fewest_before = int(self._calls_before.min())
        self._began[:], self._return[:] = snapshot["began"], snapshot["return"]
        self.frozen = snapshot["frozen"]
        if self.watch is not None:
            self.watch.restore(snapshot["trigger"])

    def _count(self, clock: str) -> NDArray[np.int64]:
        if clock == "trigger":
            return np.full_like(self._episode, 0 if self.watch is None else len(self.watch.log))
        return self.elapsed if clock == "step" else np.maximum(self._episode, 0)


def check_clocks(clocks: Clocks, drifts: Drifts, trigger: Any) -> None:
    """Raise ValueError unless every clock is known, of a parameter that drifts, and has its trigger."""
    known = get_args(ClockName)
    for name, clock in clocks.items():
        if name not in drifts:
            raise ValueError(f"clocks: {name!r} does not drift; {nearest(name, drifts)}")
        if clock not in known:
            raise ValueError(f"clocks: {name!r} cannot follow {clock!r}; {nearest(str(clock), known)}")
    if ("trigger" in clocks.values()) != (trigger is not None):
        raise ValueError("give a trigger if, and only if, `clocks` puts a parameter on the clock 'trigger'")
