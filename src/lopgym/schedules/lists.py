"""Lists: values written down one by one."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Annotated

from annotated_types import MinLen

from lopgym.bounds import PositiveInt
from lopgym.schedules.base import Blocks, Still, schedules

Values = Annotated[tuple[float, ...], MinLen(1)]


@schedules.register("constant")
@dataclass(frozen=True, kw_only=True)
class Constant(Still):
    """Always `value`; where a schedule is wanted, a bare number means this.

    >>> Constant(value=9.8)(1000)
    9.8
    """

    value: float

    def __call__(self, t: int) -> float:
        """Return `value`."""
        return self.value

    def next_change(self, t: int) -> int | None:
        """None: it never changes."""
        return None


@schedules.register("count")
@dataclass(frozen=True, kw_only=True)
class Count(Blocks):
    """The number of the piece: 0, 1, 2, ... for `period` steps each; drives indices such as `observation_order`.

    >>> [Count(period=3)(t) for t in (0, 2, 3, 6)]
    [0, 0, 1, 2]
    """

    def __call__(self, t: int) -> float:
        """Return t // period."""
        return t // self.period


@schedules.register("cycle")
@dataclass(frozen=True, kw_only=True)
class Cycle(Blocks):
    """Walk through `values`, `period` steps each, then start over.

    >>> [Cycle(values=(1.0, 2.0), period=3)(t) for t in (0, 2, 3, 6)]
    [1.0, 1.0, 2.0, 1.0]
    """

    values: Values

    def __call__(self, t: int) -> float:
        """Return the value of the piece that t lies in."""
        return self.values[t // self.period % len(self.values)]


@schedules.register("steps")
@dataclass(frozen=True, kw_only=True)
class Steps(Still):
    """One value after another: `values[0]` at first, `values[i + 1]` from step `at[i]` on.

    >>> [Steps(values=(1.0, 5.0, 2.0), at=(10, 20))(t) for t in (9, 10, 20)]
    [1.0, 5.0, 2.0]
    """

    values: Values
    at: tuple[PositiveInt, ...]

    def __post_init__(self) -> None:
        """Refuse values and steps that do not fit together."""
        super().__post_init__()
        if len(self.values) != len(self.at) + 1:
            raise ValueError(f"steps: {len(self.values)} values need {len(self.values) - 1} steps `at`, not {self.at}")
        if any(b <= a for a, b in zip((0, *self.at), self.at, strict=False)):
            raise ValueError(f"steps: at={self.at} must be positive and rising")

    def __call__(self, t: int) -> float:
        """Return the value of the last piece that has begun."""
        return self.values[bisect_right(self.at, t)]

    def next_change(self, t: int) -> int | None:
        """Return the first of `at` after t."""
        return next(iter(self.at[bisect_right(self.at, t) :]), None)


@schedules.register("interpolate")
@dataclass(frozen=True, kw_only=True)
class Interpolate(Blocks):
    """Walk through `values` as `cycle` does, but cross over to the next during the last `blend` steps of each piece.

    In piece k, u steps before its end, the value is v_k + (v_{k+1} - v_k) max(0, 1 - u / blend): it reaches v_{k+1}
    as piece k + 1, the next task, begins. With blend = 1 it is `cycle`; with blend = period it never rests.

    >>> [Interpolate(values=(0.0, 1.0), period=10, blend=4)(t) for t in (0, 6, 7, 8, 9, 10, 16, 18)]
    [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 0.5]
    """

    smooth = True

    values: Values
    blend: PositiveInt

    def __post_init__(self) -> None:
        """Refuse a crossing longer than a piece."""
        super().__post_init__()
        if self.blend > self.period:
            raise ValueError(f"interpolate: blend={self.blend} must be <= period={self.period}")

    def __call__(self, t: int) -> float:
        """Return the value held, or the mixture of it and the next."""
        piece, within = divmod(t, self.period)
        here, there = (self.values[k % len(self.values)] for k in (piece, piece + 1))
        return here + (there - here) * max(0.0, 1.0 - (self.period - within) / self.blend)
