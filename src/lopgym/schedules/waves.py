"""Waves: periodic swings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import MinLen

from lopgym.bounds import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt
from lopgym.schedules.base import Blocks, Ranged, Seed, Smooth, Still, drawing, schedules

_TURN = 2 * math.pi


@dataclass(frozen=True, kw_only=True)
class Wave(Smooth):
    """A swing without jumps around `mean`."""

    mean: float
    amplitude: NonNegativeFloat
    period: PositiveFloat
    phase: float = 0.0

    @property
    def extremes(self) -> tuple[float, float]:
        """Trough and crest."""
        return self.mean - self.amplitude, self.mean + self.amplitude


@schedules.register("sine")
@dataclass(frozen=True, kw_only=True)
class Sine(Wave):
    """Swing around `mean` by at most `amplitude`, once every `period` steps, from `phase` (in turns) on.

    The value is mean + amplitude sin(2 pi (t / period + phase)).

    >>> [round(Sine(mean=1.0, amplitude=2.0, period=8)(t), 6) for t in (0, 2, 6)]
    [1.0, 3.0, -1.0]
    """

    def __call__(self, t: int) -> float:
        """Return mean + amplitude * sin(2 pi (t / period + phase))."""
        return self.mean + self.amplitude * math.sin(_TURN * (t / self.period + self.phase))


@schedules.register("triangle")
@dataclass(frozen=True, kw_only=True)
class Triangle(Wave):
    """Swing as `sine` does, on straight lines: up, down, up, at one speed.

    The value is mean + amplitude (1 - 4 |x - 1/2|), x the fraction of t / period + phase + 1/4.

    >>> [Triangle(mean=1.0, amplitude=2.0, period=8)(t) for t in (0, 1, 2, 4, 6, 8)]
    [1.0, 2.0, 3.0, 1.0, -1.0, 1.0]
    """

    def __call__(self, t: int) -> float:
        """Return the point on the line."""
        return self.mean + self.amplitude * (1 - 4 * abs((t / self.period + self.phase + 0.25) % 1.0 - 0.5))


@schedules.register("square")
@dataclass(frozen=True, kw_only=True)
class Square(Ranged, Still):
    """Be `high` for the first `duty` (a fraction) of every `period` steps, then `low` for the rest.

    The value is high if t mod period < d, else low; d is duty * period, rounded to whole steps.

    >>> [Square(low=0.0, high=1.0, period=4, duty=0.25)(t) for t in range(6)]
    [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    """

    low: float
    high: float
    period: PositiveInt
    duty: Fraction = 0.5

    def __call__(self, t: int) -> float:
        """Return `high` or `low`."""
        return self.high if t % self.period < self._steps_high() else self.low

    def next_change(self, t: int) -> int | None:
        """Return the next end of a high or a low, None if one of them has no steps."""
        high, start = self._steps_high(), t - t % self.period
        if high in (0, self.period):
            return None
        return start + (high if t - start < high else self.period)

    def _steps_high(self) -> int:
        return round(self.duty * self.period)


@schedules.register("sawtooth")
@dataclass(frozen=True, kw_only=True)
class Sawtooth(Blocks):
    """Move from `start` towards `end` over `period` steps, jump back, start over.

    The value is start + (end - start) (t mod period) / period; the jump begins a new task.

    >>> [Sawtooth(start=0.0, end=1.0, period=4)(t) for t in range(6)]
    [0.0, 0.25, 0.5, 0.75, 0.0, 0.25]
    """

    smooth = True

    start: float
    end: float

    @property
    def extremes(self) -> tuple[float, float]:
        """Both ends of the tooth."""
        return self.start, self.end

    def __call__(self, t: int) -> float:
        """Return the point on the tooth."""
        return self.start + (self.end - self.start) * (t % self.period / self.period)


@schedules.register("fourier")
@dataclass(frozen=True, kw_only=True)
class Fourier(Smooth):
    """Add up harmonics: number k swings by `amplitudes[k - 1]`, k times every `period` steps.

    The value is mean + sum over k of a_k sin(2 pi (k t / period + p_k)). The `phases` p_k, in turns, are one for each
    harmonic; left out, they are drawn uniformly.

    >>> wave = Fourier(mean=1.0, amplitudes=(2.0, 0.5), phases=(0.0, 0.25), period=8)
    >>> [round(wave(t), 6) for t in (0, 2, 4)]
    [1.5, 2.5, 1.5]
    """

    mean: float
    amplitudes: Annotated[tuple[NonNegativeFloat, ...], MinLen(1)]
    period: PositiveFloat
    phases: tuple[float, ...] | None = None
    seed: Seed = None
    _turns: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Draw the phases that were not given, and refuse too many or too few."""
        super().__post_init__()
        number = len(self.amplitudes)
        turns = drawing(self.seed, 0).random(number).tolist() if self.phases is None else self.phases
        if len(turns) != number:
            raise ValueError(f"fourier: {number} amplitudes need {number} phases, not {len(turns)}")
        object.__setattr__(self, "_turns", tuple(turns))

    def __call__(self, t: int) -> float:
        """Return the sum of the mean and the harmonics."""
        waves = zip(self.amplitudes, self._turns, strict=True)
        return self.mean + sum(
            amplitude * math.sin(_TURN * (k * t / self.period + turn))
            for k, (amplitude, turn) in enumerate(waves, start=1)
        )
