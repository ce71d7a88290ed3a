"""Draws: a new value every `period` steps, by chance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
from annotated_types import MinLen

from lopgym.bounds import NonNegativeFloat, PositiveFloat
from lopgym.schedules.base import Blocks, Ranged, Seed, drawing, need_range, schedules, stream, unit
from lopgym.schedules.lists import Values
from lopgym.schedules.paths import Offsets, place

_RAREST = 1e-4  # chance of another value, below which the search for the next change would take seconds


@schedules.register("resample")
@dataclass(frozen=True, kw_only=True)
class Resample(Ranged, Blocks):
    """Draw anew, uniformly on [low, high), every `period` steps; draw k depends on (seed, k) alone.

    >>> draws = Resample(low=9.0, high=11.0, period=100, seed=1)
    >>> [round(draws(t), 3) for t in (0, 99, 100)] == [round(draws(t), 3) for t in (50, 7, 199)]
    True
    """

    low: float
    high: float
    seed: Seed = None

    def __post_init__(self) -> None:
        """Refuse an empty range."""
        super().__post_init__()
        need_range("resample", self.low, self.high)

    def __call__(self, t: int) -> float:
        """Return the draw of the piece that t lies in."""
        return self.low + (self.high - self.low) * unit(self.seed, t // self.period)


@schedules.register("log_uniform")
@dataclass(frozen=True, kw_only=True)
class LogUniform(Ranged, Blocks):
    """Draw anew every `period` steps, so that every factor is as likely between `low` and `high`, both positive.

    The value is exp(u), u uniform on [log low, log high): its median is sqrt(low high).

    >>> draws = LogUniform(low=0.01, high=100.0, period=1, seed=0)
    >>> 0.4 < sum(draws(t) < 1.0 for t in range(200)) / 200 < 0.6
    True
    """

    low: PositiveFloat
    high: PositiveFloat
    seed: Seed = None

    def __post_init__(self) -> None:
        """Refuse an empty range."""
        super().__post_init__()
        need_range("log_uniform", self.low, self.high)

    def __call__(self, t: int) -> float:
        """Return the draw of the piece that t lies in; rounding does not take it out of the range."""
        low, high = math.log(self.low), math.log(self.high)
        return min(max(math.exp(low + (high - low) * unit(self.seed, t // self.period)), self.low), self.high)


@schedules.register("categorical")
@dataclass(frozen=True, kw_only=True)
class Categorical(Blocks):
    """Draw one of `values` every `period` steps, `values[i]` with a probability in proportion to `weights[i]`.

    Equal neighbours are one piece: a change is a step at which the value changes. One value may have all the weight
    but not nearly all of it: the chance that another is drawn must be 1e-4 or more. For rarer events: `poisson`.

    >>> coin = Categorical(values=(9.8, 20.0), weights=(3, 1), period=10, seed=0)
    >>> 0.65 < sum(coin(10 * k) == 9.8 for k in range(400)) / 400 < 0.85
    True
    """

    values: Values
    weights: tuple[NonNegativeFloat, ...]
    seed: Seed = None

    def __post_init__(self) -> None:
        """Refuse weights that do not fit the values or are all zero."""
        super().__post_init__()
        if len(self.weights) != len(self.values) or not sum(self.weights):
            raise ValueError(f"categorical: {len(self.values)} values need as many weights, not {self.weights}")
        shares = self._shares()
        if len(shares) > 1 and 1 - max(shares.values()) < _RAREST:
            raise ValueError(f"categorical: weights={self.weights} hardly ever draw another value; use `poisson`")

    def __call__(self, t: int) -> float:
        """Return the draw of the piece that t lies in."""
        below, drawn = np.cumsum(self.weights), unit(self.seed, t // self.period)
        return self.values[int(np.searchsorted(below / below[-1], drawn, side="right"))]

    def next_change(self, t: int) -> int | None:
        """Return the first multiple of `period` with another value; None if there is one value only to draw."""
        if len(self._shares()) == 1:
            return None
        here, there = self(t), (t // self.period + 1) * self.period
        while self(there) == here:
            there += self.period
        return there

    def _shares(self) -> dict[float, float]:
        """Return value -> probability of those that can be drawn."""
        total, shares = math.fsum(self.weights), dict[float, float]()
        for value, weight in zip(self.values, self.weights, strict=True):
            if weight:
                shares[value] = shares.get(value, 0.0) + weight / total
        return shares


@schedules.register("dirichlet")
@dataclass(frozen=True, kw_only=True)
class Dirichlet(Blocks):
    """Mix `values` anew every `period` steps, with weights from the symmetric Dirichlet distribution.

    The value is the sum of w_i v_i, w ~ Dirichlet(concentration, ..., concentration): near 0 one value is chosen, at 1
    all mixtures are as likely, far above 1 all come near the mean. Parameters that are given one seed, and as many
    values, have one mixture.

    >>> mixed = Dirichlet(values=(0.0, 1.0), concentration=1e6, period=10, seed=0)
    >>> round(mixed(0), 1), round(mixed(10), 1)
    (0.5, 0.5)
    """

    values: Annotated[tuple[float, ...], MinLen(2)]
    concentration: PositiveFloat = 1.0
    seed: Seed = None

    def __call__(self, t: int) -> float:
        """Return the mixture of the piece that t lies in; rounding does not take it out of the range of the values."""
        weights = drawing(self.seed, t // self.period).dirichlet([self.concentration] * len(self.values))
        return min(max(float(weights @ np.array(self.values)), min(self.values)), max(self.values))


@schedules.register("revisit")
@dataclass(frozen=True, kw_only=True)
class Revisit(Blocks):
    """Visit `values` in random order, `period` steps each, each as often as the others, never one twice in a row.

    The first is drawn uniformly, each next one uniformly from all the others.

    >>> draws = Revisit(values=(1.0, 2.0), period=5, seed=3)
    >>> draws(0) == draws(4) == draws(10), draws(0) + draws(5)
    (True, 3.0)
    """

    values: Annotated[tuple[float, ...], MinLen(2)]
    seed: Seed = None

    def __post_init__(self) -> None:
        """Refuse a value that is there twice."""
        super().__post_init__()
        if len(set(self.values)) < len(self.values):
            raise ValueError(f"revisit: values={self.values} must differ from one another")

    def __call__(self, t: int) -> float:
        """Return the value of the piece that t lies in."""
        first, path = _order(self.seed, len(self.values))
        return self.values[(first + int(place(path, t // self.period))) % len(self.values)]


@lru_cache(maxsize=64)
def _order(seed: int | None, number: int) -> tuple[int, Offsets]:
    """Return the first index, and the path of steps from index to index, none of them a whole round."""
    return int(drawing(seed, 0).integers(number)), Offsets(stream(seed, "order"), number - 1)
