"""Schedules: a value as a pure function of the step. Same t, same value, in any order, for ever."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Protocol, cast

import numpy as np
from annotated_types import MinLen
from numpy.typing import NDArray

from lopgym.bounds import NonNegativeFloat, PositiveFloat, PositiveInt
from lopgym.declared import Declared
from lopgym.registry import Registry, nearest


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


schedules: Registry[Schedule] = Registry("schedule", __name__)


class _Still(Declared):
    """A schedule that keeps its value between changes."""

    smooth = False


class _Smooth(Declared):
    """A schedule without jumps: it moves all the time."""

    smooth = True

    def next_change(self, t: int) -> int | None:
        """None: there are no pieces."""
        return None


@dataclass(frozen=True, kw_only=True)
class _Blocks(_Still):
    """Pieces of equal length."""

    period: PositiveInt

    def next_change(self, t: int) -> int | None:
        """Return the next multiple of `period`."""
        return (t // self.period + 1) * self.period


@schedules.register("constant")
@dataclass(frozen=True, kw_only=True)
class Constant(_Still):
    """Always `value`; where a schedule is wanted, a bare number means this."""

    value: float

    def __call__(self, t: int) -> float:
        """Return `value`."""
        return self.value

    def next_change(self, t: int) -> int | None:
        """None: it never changes."""
        return None


@schedules.register("count")
@dataclass(frozen=True, kw_only=True)
class Count(_Blocks):
    """The number of the piece: 0, 1, 2, ... for `period` steps each; drives indices such as `observation_order`.

    >>> [Count(period=3)(t) for t in (0, 2, 3, 6)]
    [0, 0, 1, 2]
    """

    def __call__(self, t: int) -> float:
        """Return t // period."""
        return t // self.period


@schedules.register("cycle")
@dataclass(frozen=True, kw_only=True)
class Cycle(_Blocks):
    """Walk through `values`, `period` steps each, then start over.

    >>> [Cycle(values=(1.0, 2.0), period=3)(t) for t in (0, 2, 3, 6)]
    [1.0, 1.0, 2.0, 1.0]
    """

    values: Annotated[tuple[float, ...], MinLen(1)]

    def __call__(self, t: int) -> float:
        """Return the value of the piece that t lies in."""
        return self.values[t // self.period % len(self.values)]


@schedules.register("steps")
@dataclass(frozen=True, kw_only=True)
class Steps(_Still):
    """One value after another: `values[0]` at first, `values[i + 1]` from step `at[i]` on.

    >>> [Steps(values=(1.0, 5.0, 2.0), at=(10, 20))(t) for t in (9, 10, 20)]
    [1.0, 5.0, 2.0]
    """

    values: Annotated[tuple[float, ...], MinLen(1)]
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
        return self.values[int(np.searchsorted(self.at, t, side="right"))]

    def next_change(self, t: int) -> int | None:
        """Return the first of `at` after t."""
        return next((step for step in self.at if step > t), None)


@schedules.register("resample")
@dataclass(frozen=True, kw_only=True)
class Resample(_Blocks):
    """Draw anew, uniformly on [low, high), every `period` steps; draw k depends on (seed, k) alone."""

    low: float
    high: float
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse an empty range."""
        super().__post_init__()
        if self.low > self.high:
            raise ValueError(f"resample: low={self.low} is above high={self.high}")

    def __call__(self, t: int) -> float:
        """Return the draw of the piece that t lies in."""
        return float(np.random.default_rng([self.seed or 0, t // self.period]).uniform(self.low, self.high))


@schedules.register("linear")
@dataclass(frozen=True, kw_only=True)
class Linear(_Smooth):
    """Move from `start` to `end` over `steps` steps, then stay.

    >>> [Linear(start=0.0, end=1.0, steps=4)(t) for t in (0, 2, 4, 9)]
    [0.0, 0.5, 1.0, 1.0]
    """

    start: float
    end: float
    steps: PositiveInt

    def __call__(self, t: int) -> float:
        """Return the point on the line."""
        return self.start + (self.end - self.start) * min(t / self.steps, 1.0)


@schedules.register("sine")
@dataclass(frozen=True, kw_only=True)
class Sine(_Smooth):
    """Swing around `mean` by at most `amplitude`, once every `period` steps, from `phase` (in turns) on.

    >>> [round(Sine(mean=1.0, amplitude=2.0, period=8)(t), 6) for t in (0, 2, 6)]
    [1.0, 3.0, -1.0]
    """

    mean: float
    amplitude: NonNegativeFloat
    period: PositiveFloat
    phase: float = 0.0

    def __call__(self, t: int) -> float:
        """Return mean + amplitude * sin(2 pi (t / period + phase))."""
        return self.mean + self.amplitude * math.sin(2 * math.pi * (t / self.period + self.phase))


@schedules.register("random_walk")
@dataclass(frozen=True, kw_only=True)
class RandomWalk(_Blocks):
    """Add a normal step of standard deviation `sd` every `period` steps; the walls `low` and `high` reflect it."""

    start: float
    sd: NonNegativeFloat
    low: float
    high: float
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse a start outside the walls."""
        super().__post_init__()
        if not self.low <= self.start <= self.high or self.low == self.high:
            raise ValueError(f"random_walk: need low <= start <= high and low < high, not {self}")

    def __call__(self, t: int) -> float:
        """Return where the walk is: the free walk, folded between the walls."""
        free = self.start + self.sd * _normal_sum(self.seed or 0, t // self.period)
        span = self.high - self.low
        return self.high - abs((free - self.low) % (2 * span) - span)


_BLOCK = 1024  # steps of a walk that are drawn together


@lru_cache(maxsize=256)
def _normal_block(seed: int, block: int) -> NDArray[np.float64]:
    return np.cumsum(np.random.default_rng([seed, block]).standard_normal(_BLOCK))


@lru_cache(maxsize=64)
def _block_starts(seed: int) -> list[float]:
    return [0.0]  # grows: the sum of all blocks before block i. A cache, not state: it holds what can be recomputed


def _normal_sum(seed: int, n: int) -> float:
    """Return the sum of the first n standard normal draws of `seed`."""
    block, within = divmod(n, _BLOCK)
    starts = _block_starts(seed)
    while len(starts) <= block:
        starts.append(starts[-1] + float(_normal_block(seed, len(starts) - 1)[-1]))
    return starts[block] + (float(_normal_block(seed, block)[within - 1]) if within else 0.0)


def seeded(schedule: Schedule, seed: int) -> Schedule:
    """Give a random schedule its seed, unless it came with one; others are returned as they are."""
    if getattr(schedule, "seed", 0) is not None:
        return schedule
    return cast(Schedule, dataclasses.replace(cast(Any, schedule), seed=seed))


def from_plain(data: Schedule | float | Mapping[str, Any]) -> Schedule:
    """Make a schedule of plain data: a number, or `{"kind": "cycle", "values": [9.8, 20.0], "period": 50_000}`.

    Raises:
        ValueError: it is none, no such kind, or an option missing, unknown, of the wrong type or out of range.
    """
    if isinstance(data, int | float | np.number):
        return Constant(value=data)
    if not isinstance(data, Mapping):
        if not hasattr(data, "next_change"):
            raise ValueError(f"{data!r} is no schedule: give a number, a Schedule, or a mapping with its `kind`")
        return data
    options = {name: value for name, value in data.items() if name != "kind"}
    kind, kinds = str(data.get("kind")), {entry.name: entry for entry in schedules}
    if kind not in kinds:
        raise ValueError(f"no schedule of kind {data.get('kind')!r}; {nearest(kind, kinds)}")
    entry = kinds[kind]
    for option in options.keys() - entry.options.keys():
        raise ValueError(f"schedule {entry.name!r} has no option {option!r}; {nearest(option, entry.options)}")
    for option, declared in entry.options.items():
        if option not in options and declared.default is declared.empty:
            raise ValueError(f"schedule {entry.name!r} needs the option {option!r}")
    return entry.make(**options)


def to_plain(schedule: Schedule | float | Mapping[str, Any]) -> dict[str, Any]:
    """Say a schedule in plain data (JSON, YAML), so that `from_plain` makes an equal one."""
    schedule = from_plain(schedule)
    names = {entry.make: entry.name for entry in schedules}
    if type(schedule) not in names:
        raise ValueError(f"{schedule!r} is not a registered schedule and cannot be written as plain data")
    fields = dataclasses.asdict(cast(Any, schedule))
    return {"kind": names[type(schedule)]} | {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}
