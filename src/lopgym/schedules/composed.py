"""Compositions: schedules made of others, and of functions."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated

from annotated_types import MinLen

from lopgym.bounds import NonNegativeInt, PositiveInt
from lopgym.declared import Declared
from lopgym.schedules.base import Schedule, schedules

Parts = Annotated[tuple[Schedule, ...], MinLen(1)]


def _first(steps: Iterable[int | None]) -> int | None:
    return min((step for step in steps if step is not None), default=None)


@schedules.register("sum")
@dataclass(frozen=True, kw_only=True)
class Sum(Declared):
    """Add up several schedules; a new piece begins wherever one of theirs does.

    >>> from lopgym.schedules import Cycle
    >>> both = Sum(terms=(10.0, Cycle(values=(0.0, 1.0), period=5)))
    >>> both(0), both(5), both.next_change(0)
    (10.0, 11.0, 5)
    """

    terms: Parts

    @property
    def smooth(self) -> bool:
        """Whether one of them is."""
        return any(term.smooth for term in self.terms)

    def __call__(self, t: int) -> float:
        """Return the sum of their values."""
        return sum(term(t) for term in self.terms)

    def next_change(self, t: int) -> int | None:
        """Return the first change of any."""
        return _first(term.next_change(t) for term in self.terms)


@schedules.register("product")
@dataclass(frozen=True, kw_only=True)
class Product(Declared):
    """Multiply several schedules; a new piece begins wherever one of theirs does.

    >>> from lopgym.schedules import Cycle
    >>> both = Product(factors=(10.0, Cycle(values=(1.0, 2.0), period=5)))
    >>> both(0), both(5), both.next_change(0)
    (10.0, 20.0, 5)
    """

    factors: Parts

    @property
    def smooth(self) -> bool:
        """Whether one of them is."""
        return any(factor.smooth for factor in self.factors)

    def __call__(self, t: int) -> float:
        """Return the product of their values."""
        return math.prod(factor(t) for factor in self.factors)

    def next_change(self, t: int) -> int | None:
        """Return the first change of any."""
        return _first(factor.next_change(t) for factor in self.factors)


@schedules.register("shift")
@dataclass(frozen=True, kw_only=True)
class Shift(Declared):
    """Run another schedule `by` steps ahead or, if that is negative, behind: it then waits at its first value.

    The value is x(max(t + by, 0)).

    >>> from lopgym.schedules import Cycle
    >>> early = Shift(of=Cycle(values=(1.0, 2.0), period=5), by=2)
    >>> early(2), early(3), early.next_change(0)
    (1.0, 2.0, 3)
    """

    of: Schedule
    by: int

    @property
    def smooth(self) -> bool:
        """Whether the other is."""
        return self.of.smooth

    def __call__(self, t: int) -> float:
        """Return the value of the other at its own step."""
        return self.of(max(t + self.by, 0))

    def next_change(self, t: int) -> int | None:
        """Return the next change of the other, in steps of this one."""
        step = self.of.next_change(max(t + self.by, 0))
        return None if step is None else step - self.by


@dataclass(frozen=True, kw_only=True)
class Switch(Declared):
    """Follow the schedule `inside` in certain stretches of time, `outside` in the others."""

    inside: Schedule
    outside: Schedule
    _edges: tuple[int, ...] = field(init=False, repr=False, compare=False)  # rising; every other one begins a stretch

    @property
    def smooth(self) -> bool:
        """Whether one of the two is."""
        return self.inside.smooth or self.outside.smooth

    def __call__(self, t: int) -> float:
        """Return the value of the schedule that is followed at t."""
        return self._followed(t)(t)

    def next_change(self, t: int) -> int | None:
        """Return the next edge of a stretch, or the change before it of the schedule that is followed."""
        edge = next(iter(self._edges[bisect_right(self._edges, t) :]), None)
        return _first((edge, self._followed(t).next_change(t)))

    def _followed(self, t: int) -> Schedule:
        return self.inside if bisect_right(self._edges, t) % 2 else self.outside


@schedules.register("window")
@dataclass(frozen=True, kw_only=True)
class Window(Switch):
    """Follow one schedule from step `start` to before step `stop`, another before and after.

    >>> storm = Window(inside=20.0, outside=9.8, start=100, stop=200)
    >>> [storm(t) for t in (99, 100, 199, 200)], storm.next_change(0), storm.next_change(200)
    ([9.8, 20.0, 20.0, 9.8], 100, None)
    """

    start: NonNegativeInt
    stop: PositiveInt

    def __post_init__(self) -> None:
        """Refuse an empty window."""
        super().__post_init__()
        if self.start >= self.stop:
            raise ValueError(f"window: start={self.start} must be before stop={self.stop}")
        object.__setattr__(self, "_edges", (self.start, self.stop))


@schedules.register("windows")
@dataclass(frozen=True, kw_only=True)
class Windows(Switch):
    """Follow one schedule in several windows, from each of `starts` to before its one of `stops`, another elsewhere.

    >>> storms = Windows(inside=20.0, outside=9.8, starts=(100, 500), stops=(200, 600))
    >>> [storms(t) for t in (99, 100, 200, 500, 600)], storms.next_change(100), storms.next_change(600)
    ([9.8, 20.0, 9.8, 20.0, 9.8], 200, None)
    """

    starts: Annotated[tuple[NonNegativeInt, ...], MinLen(1)]
    stops: Annotated[tuple[PositiveInt, ...], MinLen(1)]

    def __post_init__(self) -> None:
        """Refuse windows that are empty, overlap or are out of order; two that touch are one."""
        super().__post_init__()
        if len(self.starts) != len(self.stops):
            raise ValueError(f"windows: {len(self.starts)} starts need as many stops, not {len(self.stops)}")
        for start, stop in zip(self.starts, self.stops, strict=True):
            if start >= stop:
                raise ValueError(f"windows: the window from {start} to {stop} is empty")
        for (here, end), (there, _) in pairwise(zip(self.starts, self.stops, strict=True)):
            if there < end:
                raise ValueError(f"windows: the one from {there} must not begin before that from {here} ends, at {end}")
        object.__setattr__(self, "_edges", tuple(sorted({*self.starts} ^ {*self.stops})))


@dataclass(frozen=True, kw_only=True)
class Call:
    """Follow a Python function of the step, called once every `period` steps; with None it moves at every step.

    The function must be pure: the same step, the same value. It cannot be written as plain data: no file can hold it.

    >>> law = Call(function=lambda t: 9.8 + 0.001 * t, period=1000)
    >>> law(999), law(1000), law.next_change(999), Call(function=math.sqrt)(4)
    (9.8, 10.8, 1000, 2.0)
    """

    function: Callable[[int], float]
    period: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be called, and pieces without steps."""
        if not callable(self.function):
            raise ValueError(f"call: function={self.function!r} must be a function of the step")
        if self.period is not None and self.period < 1:
            raise ValueError(f"call: period={self.period} must be > 0")

    @property
    def smooth(self) -> bool:
        """Whether it is called at every step."""
        return self.period is None

    def __call__(self, t: int) -> float:
        """Return the function's value at the beginning of the piece."""
        return float(self.function(t - t % (self.period or 1)))

    def next_change(self, t: int) -> int | None:
        """Return the next multiple of `period`, None without one."""
        return None if self.period is None else (t // self.period + 1) * self.period
