"""What a schedule is, where schedules are registered, and what many of them share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from lopgym.bounds import NonNegativeInt, PositiveInt
from lopgym.declared import Declared
from lopgym.registry import Registry
from lopgym.seeding import derive


class Schedule(Protocol):
    """A value that depends on the step and on nothing else.

    Random schedules have a field `seed`; left at None, a world fills it from its `world_seed` and the name of the
    parameter that the schedule drives (see `seeded`).
    """

    def __call__(self, t: int) -> float:
        """Return the value at step t >= 0."""

    def next_change(self, t: int) -> int | None:
        """Return the first step after t at which a new piece begins, None if there is none."""

    @property
    def smooth(self) -> bool:
        """Whether the value also moves between changes."""


schedules: Registry[Schedule] = Registry("schedule", "lopgym.schedules")

Seed = NonNegativeInt | None


class Still(Declared):
    """A schedule that keeps its value between changes."""

    smooth = False


class Smooth(Declared):
    """A schedule without jumps: it moves all the time."""

    smooth = True

    def next_change(self, t: int) -> int | None:
        """None: there are no pieces."""
        return None


class Ranged:
    """A schedule whose values lie between `low` and `high`."""

    low: float
    high: float

    @property
    def extremes(self) -> tuple[float, float]:
        """Return how far the value goes; a parameter that cannot go so far refuses the schedule before it begins."""
        return self.low, self.high


@dataclass(frozen=True, kw_only=True)
class Blocks(Still):
    """Pieces of equal length."""

    period: PositiveInt

    def next_change(self, t: int) -> int | None:
        """Return the next multiple of `period`."""
        return (t // self.period + 1) * self.period


def drawing(seed: int | None, piece: int) -> np.random.Generator:
    """Return the generator of one piece of a random schedule: what it draws depends on (seed, piece) alone."""
    return np.random.default_rng([seed or 0, piece])


@lru_cache(maxsize=4096)
def unit(seed: int | None, piece: int) -> float:
    """Return the first uniform number in [0, 1) of a piece; remembered, for schedules that are asked at every step."""
    return float(drawing(seed, piece).random())


def stream(seed: int | None, name: str) -> int:
    """Return the seed of a second, independent stream of a random schedule, called `name`."""
    return derive(seed or 0, name)


def need_range(kind: str, low: float, high: float) -> None:
    """Raise ValueError unless low <= high."""
    if low > high:
        raise ValueError(f"{kind}: low={low} is above high={high}")
