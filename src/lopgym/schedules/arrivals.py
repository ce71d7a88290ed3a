"""Arrivals: jumps that come at random times."""

from __future__ import annotations

import math
from abc import abstractmethod
from bisect import bisect_left
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Interval

from lopgym.bounds import PositiveFloat
from lopgym.schedules.base import Ranged, Seed, Still, need_range, schedules, stream, unit
from lopgym.schedules.paths import Exponentials, Path, Waits, arrivals, place


@dataclass(frozen=True, kw_only=True)
class Jumps(Ranged, Still):
    """A new value, uniform on [low, high), at each of random times; value k depends on (seed, k) alone."""

    low: float
    high: float
    seed: Seed = None

    def __post_init__(self) -> None:
        """Refuse an empty range."""
        super().__post_init__()
        need_range(type(self).__name__.lower(), self.low, self.high)

    def __call__(self, t: int) -> float:
        """Return the value since the last jump."""
        return self.low + (self.high - self.low) * unit(self.seed, self._jumps(t))

    @abstractmethod
    def _jumps(self, t: int) -> int:
        """Return the number of jumps in (0, t]."""


@dataclass(frozen=True, kw_only=True)
class Hazardous(Jumps):
    """Jumps of a Poisson process: on average `_expected(t)` of them in (0, t].

    The times are those of a process of rate 1, read on the clock `_expected` (Çinlar 1975, Introduction to Stochastic
    Processes, section 4.7). A jump takes effect at the first whole step at or after its time.
    """

    def next_change(self, t: int) -> int | None:
        """Return the first step after t at which more have come; None if no more ever do."""
        level = place(self._path(), self._jumps(t) + 1)
        if self._expected(math.inf) < level:
            return None
        reach = 1
        while self._expected(t + reach) < level:
            reach *= 2
        later = range(t + 1, t + reach + 1)
        return later[bisect_left(later, level, key=self._expected)]

    def _jumps(self, t: int) -> int:
        return arrivals(self._path(), self._expected(t))

    def _path(self) -> Path:
        return Exponentials(stream(self.seed, "times"))

    @abstractmethod
    def _expected(self, t: float) -> float:
        """Return the number of jumps to be expected in (0, t]; it never falls."""


@schedules.register("poisson")
@dataclass(frozen=True, kw_only=True)
class Poisson(Hazardous):
    """Jump to a new value, uniform on [low, high), at the arrivals of a Poisson process, one every `mean` steps.

    The waiting times are independent, with density exp(-x / mean) / mean: whatever has been says nothing of when the
    next jump comes.

    >>> jumps = Poisson(low=0.0, high=1.0, mean=50.0, seed=0)
    >>> step = jumps.next_change(0)
    >>> jumps(0) == jumps(step - 1) != jumps(step)
    True
    """

    mean: PositiveFloat

    def _expected(self, t: float) -> float:
        return t / self.mean


@schedules.register("hazard")
@dataclass(frozen=True, kw_only=True)
class Hazard(Hazardous):
    """Jump to a new value, uniform on [low, high), ever more rarely: a world that settles down.

    The hazard, jumps per step, is exp(-t / timescale) / mean: at first one every `mean` steps, in all of time
    timescale / mean of them on average.

    >>> jumps = Hazard(low=0.0, high=1.0, mean=50.0, timescale=500.0, seed=0)
    >>> jumps.next_change(1_000_000) is None
    True
    """

    mean: PositiveFloat
    timescale: PositiveFloat

    def _expected(self, t: float) -> float:
        return -math.expm1(-t / self.timescale) * self.timescale / self.mean


@schedules.register("geometric")
@dataclass(frozen=True, kw_only=True)
class Geometric(Jumps):
    """Jump to a new value, uniform on [low, high), with probability `chance` at every step.

    The steps between jumps are independent, n of them with probability chance (1 - chance)^(n - 1).

    >>> always = Geometric(low=0.0, high=1.0, chance=1.0, seed=0)
    >>> [always.next_change(t) for t in (0, 1, 2)]
    [1, 2, 3]
    """

    chance: Annotated[float, Interval(gt=0, le=1)]

    def next_change(self, t: int) -> int | None:
        """Return the step of the next jump."""
        return int(place(self._path(), self._jumps(t) + 1))

    def _jumps(self, t: int) -> int:
        return arrivals(self._path(), t)

    def _path(self) -> Path:
        return Waits(stream(self.seed, "times"), (self.chance,))


@schedules.register("burst")
@dataclass(frozen=True, kw_only=True)
class Burst(Still):
    """Be `quiet`, then `burst`, then `quiet` ..., each for a random number of steps.

    It is a Markov chain of two states, quiet at first: a quiet time ends with probability 1 / mean_quiet at each step,
    a burst with 1 / mean_burst (Gilbert 1960, doi:10.1002/j.1538-7305.1960.tb03959.x).

    >>> wind = Burst(quiet=0.0, burst=5.0, mean_quiet=100.0, mean_burst=10.0, seed=0)
    >>> first = wind.next_change(0)
    >>> wind(0), wind(first), wind(wind.next_change(first))
    (0.0, 5.0, 0.0)
    """

    quiet: float
    burst: float
    mean_quiet: Annotated[float, Ge(1)]
    mean_burst: Annotated[float, Ge(1)]
    seed: Seed = None

    @property
    def extremes(self) -> tuple[float, float]:
        """Both values."""
        return self.quiet, self.burst

    def __call__(self, t: int) -> float:
        """Return the value of the state at t."""
        return self.burst if arrivals(self._path(), t) % 2 else self.quiet

    def next_change(self, t: int) -> int | None:
        """Return the step at which the state next changes."""
        path = self._path()
        return int(place(path, arrivals(path, t) + 1))

    def _path(self) -> Path:
        return Waits(stream(self.seed, "times"), (1 / self.mean_quiet, 1 / self.mean_burst))
