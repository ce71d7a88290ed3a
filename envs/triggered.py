"""The trigger: a clock that the agent moves, by doing well, by doing no better, or by taking too long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from lopgym.bounds import PositiveFloat, PositiveInt
from lopgym.declared import Declared
from lopgym.registry import nearest


@dataclass(frozen=True, kw_only=True)
class Trigger(Declared):
    """When the world moves on, by what the agent earns. A parameter on the clock `trigger` follows the firings.

    The trigger says when, the schedule of the parameter says what: `count` with `period` 1 gives a new permutation at
    every firing, `cycle` with `period` 2 the next value at every second one. So schedules stay pure functions, and any
    law can be triggered. Episodes that began before the last firing are left out: they are of another world.

    Attributes:
        threshold: fire when the mean return of the last `window` episodes is at least this.
        plateau: fire when that mean is less than this above the mean of the `window` episodes before.
        window: episodes that a mean is taken over.
        cap: fire after so many steps without firing, whatever the agent does; in total environment steps.
    """

    threshold: float | None = None
    plateau: PositiveFloat | None = None
    window: PositiveInt = 20
    cap: PositiveInt | None = None

    def __post_init__(self) -> None:
        """Refuse a trigger that would never fire."""
        super().__post_init__()
        if self.threshold is None and self.plateau is None and self.cap is None:
            raise ValueError("a trigger needs a threshold, a plateau or a cap: it would never fire")

    @classmethod
    def of(cls, data: Trigger | Mapping[str, Any]) -> Trigger:
        """Make a trigger of plain data, such as `{"threshold": 0.9, "window": 50, "cap": 100_000}`.

        Raises:
            ValueError: an option unknown or not allowed.
        """
        if isinstance(data, Trigger):
            return data
        for option in data.keys() - cls.__dataclass_fields__.keys():
            raise ValueError(f"a trigger has no option {option!r}; {nearest(option, cls.__dataclass_fields__)}")
        return cls(**data)

    def plain(self) -> dict[str, Any]:
        """Say it in plain data."""
        return asdict(self)

    def fires(self, returns: list[float]) -> bool:
        """Say whether these returns, oldest first, all of one world, are reason to move on."""
        if len(returns) < self.window:
            return False
        recent = fmean(returns[-self.window :])
        if self.threshold is not None and recent >= self.threshold:
            return True
        before = returns[-2 * self.window : -self.window]
        return self.plateau is not None and len(before) == self.window and recent - fmean(before) < self.plateau


class Watch:
    """What a trigger has seen, and what it did.

    Attributes:
        log: the steps at which it fired, rising: each the first step of a new piece.
    """

    def __init__(self, trigger: Trigger) -> None:
        """Begin a life."""
        self.trigger = trigger
        self.log: list[int] = []
        self._returns: list[float] = []
        self._since = 0  # the first step of this piece

    def passed(self, t: int) -> bool:
        """Hear that step t comes next; say whether the cap fires."""
        cap = self.trigger.cap
        return cap is not None and t - self._since >= cap and self._fire(t)

    def ended(self, episode_return: float, began: int, t: int) -> bool:
        """Hear of an episode from step `began` to before step t; say whether it fires."""
        if began < self._since:
            return False
        self._returns = [*self._returns, episode_return][-2 * self.trigger.window :]
        return self.trigger.fires(self._returns) and self._fire(t)

    def seek(self, t: int, *, new_life: bool = False) -> None:
        """Go to step t: firings after it, or all in a new life, have not happened, and no episode has been seen yet."""
        self.log = [] if new_life else [step for step in self.log if step <= t]
        self._since, self._returns = t, []

    def snapshot(self) -> dict[str, Any]:
        """Return what it remembers, as plain data."""
        return {"log": list(self.log), "returns": list(self._returns), "since": self._since}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Remember what was remembered then."""
        self.log, self._returns, self._since = list(snapshot["log"]), list(snapshot["returns"]), snapshot["since"]

    def _fire(self, t: int) -> bool:
        self.log.append(t)
        self._since, self._returns = t, []
        return True
