"""Trends: one way, once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lopgym.bounds import PositiveFloat, PositiveInt
from lopgym.schedules.base import Smooth, schedules
from lopgym.schedules.lists import Values


@dataclass(frozen=True, kw_only=True)
class Passage(Smooth):
    """A move from one value to another."""

    start: float
    end: float

    @property
    def extremes(self) -> tuple[float, float]:
        """Both ends."""
        return self.start, self.end

    def _after(self, share: float) -> float:
        """Return the value after a share of the way; rounding leaves neither end."""
        return self.end if share >= 1.0 else self.start + (self.end - self.start) * share


@schedules.register("linear")
@dataclass(frozen=True, kw_only=True)
class Linear(Passage):
    """Move from `start` to `end` over `steps` steps, then stay.

    The value is start + (end - start) min(t / steps, 1).

    >>> [Linear(start=0.0, end=1.0, steps=4)(t) for t in (0, 2, 4, 9)]
    [0.0, 0.5, 1.0, 1.0]
    """

    steps: PositiveInt

    def __call__(self, t: int) -> float:
        """Return the point on the line."""
        return self._after(t / self.steps)


@schedules.register("polynomial")
@dataclass(frozen=True, kw_only=True)
class Polynomial(Smooth):
    """Follow a polynomial over `steps` steps, then stay; `coefficients` come lowest power first.

    The value is c_0 + c_1 x + c_2 x^2 + ..., x = min(t / steps, 1): it begins at c_0 and ends at the sum of all.

    >>> [Polynomial(coefficients=(1.0, 0.0, 4.0), steps=4)(t) for t in (0, 1, 2, 4, 9)]
    [1.0, 1.25, 2.0, 5.0, 5.0]
    """

    coefficients: Values
    steps: PositiveInt

    def __call__(self, t: int) -> float:
        """Return the polynomial at the fraction of the way, by Horner's rule."""
        x, value = min(t / self.steps, 1.0), 0.0
        for coefficient in reversed(self.coefficients):
            value = value * x + coefficient
        return value


@schedules.register("exponential")
@dataclass(frozen=True, kw_only=True)
class Exponential(Passage):
    """Approach `end` from `start`: what is left of the way shrinks by the factor e every `timescale` steps.

    The value is end + (start - end) exp(-t / timescale).

    >>> [round(Exponential(start=1.0, end=0.0, timescale=10)(t), 6) for t in (0, 10, 20)]
    [1.0, 0.367879, 0.135335]
    """

    timescale: PositiveFloat

    def __call__(self, t: int) -> float:
        """Return how far the approach has come."""
        return self._after(-math.expm1(-t / self.timescale))


@schedules.register("sigmoid")
@dataclass(frozen=True, kw_only=True)
class Sigmoid(Passage):
    """Pass from `start` to `end` around step `middle`; 46 % of the way within one `width` of it, 96 % within four.

    The value is start + (end - start) / (1 + exp(-(t - middle) / width)), the logistic function.

    >>> [round(Sigmoid(start=0.0, end=1.0, middle=100, width=10)(t), 4) for t in (0, 90, 100, 110, 200)]
    [0.0, 0.2689, 0.5, 0.7311, 1.0]
    """

    middle: float
    width: PositiveFloat

    def __call__(self, t: int) -> float:
        """Return the point on the S, by the hyperbolic tangent, which cannot overflow."""
        return self._after(0.5 * (1.0 + math.tanh((t - self.middle) / (2.0 * self.width))))
