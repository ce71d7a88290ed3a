"""Walks: random drift, each value near the one before."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lopgym.bounds import NonNegativeFloat, PositiveFloat, PositiveInt
from lopgym.declared import Declared
from lopgym.schedules.base import Blocks, Ranged, Seed, Smooth, schedules
from lopgym.schedules.paths import Laplaces, Normals, Reverting, Uniforms, place


@dataclass(frozen=True, kw_only=True)
class Walled(Ranged, Declared):
    """A walk from `start`, reflected by the walls `low` and `high`."""

    start: float
    low: float
    high: float
    seed: Seed = None

    def __post_init__(self) -> None:
        """Refuse a start outside the walls."""
        super().__post_init__()
        if not self.low <= self.start <= self.high or self.low == self.high:
            raise ValueError(f"need low <= start <= high and low < high, not {self}")

    def _folded(self, free: float) -> float:
        """Return where a free walk is if the walls reflect it; rounding does not take it through them."""
        span = self.high - self.low
        return min(max(self.high - abs((free - self.low) % (2 * span) - span), self.low), self.high)


@schedules.register("random_walk")
@dataclass(frozen=True, kw_only=True)
class RandomWalk(Walled, Blocks):
    """Add `drift` and a normal step of standard deviation `sd` every `period` steps; the walls reflect the walk.

    The value in piece k is start + k drift + sd (z_1 + ... + z_k), z standard normal, folded between `low` and `high`.

    >>> walk = RandomWalk(start=9.8, sd=0.0, drift=0.5, low=9.0, high=11.0, period=10)
    >>> [walk(t) for t in (0, 10, 20, 30)]
    [9.8, 10.3, 10.8, 10.7]
    """

    sd: NonNegativeFloat
    drift: float = 0.0

    def __call__(self, t: int) -> float:
        """Return where the walk is: the free walk, folded between the walls."""
        k = t // self.period
        return self._folded(self.start + k * self.drift + self.sd * place(Normals(self.seed or 0), k))


@schedules.register("ornstein_uhlenbeck")
@dataclass(frozen=True, kw_only=True)
class OrnsteinUhlenbeck(Walled, Blocks):
    """Wander around `mean` and be drawn back to it; the walls reflect the walk.

    Every `period` steps x <- mean + a (x - mean) + sd sqrt(1 - a^2) z, a = exp(-period / timescale), z standard normal:
    exactly the process dx = -(x - mean) dt / timescale + sd sqrt(2 / timescale) dW, whose standard deviation in the
    long run is `sd` and whose correlation falls by the factor e every `timescale` steps (Uhlenbeck and Ornstein 1930,
    doi:10.1103/PhysRev.36.823). It is folded between `low` and `high`.

    >>> calm = OrnsteinUhlenbeck(mean=1.0, sd=0.0, timescale=10.0, start=2.0, low=0.0, high=3.0, period=1)
    >>> round(calm(10) - 1.0, 6), round(math.exp(-1.0), 6)
    (0.367879, 0.367879)
    """

    mean: float
    sd: NonNegativeFloat
    timescale: PositiveFloat

    def __call__(self, t: int) -> float:
        """Return the way back from the start plus what the noise has added, folded between the walls."""
        k, keep = t // self.period, math.exp(-self.period / self.timescale)
        noise = math.sqrt(1 - keep**2) * place(Reverting(self.seed or 0, keep), k)
        return self._folded(self.mean + (self.start - self.mean) * keep**k + self.sd * noise)


@schedules.register("lipschitz")
@dataclass(frozen=True, kw_only=True)
class Lipschitz(Walled, Smooth):
    """Drift at random without ever moving by more than `slope` in a step; the walls reflect it.

    A new speed, uniform on [-slope, slope), is drawn every `period` steps and held: |x(t) - x(s)| <= slope |t - s|.

    >>> slow = Lipschitz(start=0.0, slope=0.01, low=-1.0, high=1.0, period=50, seed=0)
    >>> max(abs(slow(t + 1) - slow(t)) for t in range(500)) <= 0.01
    True
    """

    slope: NonNegativeFloat
    period: PositiveInt

    def __call__(self, t: int) -> float:
        """Return the free walk between two changes of speed, folded between the walls."""
        path, (k, within) = Uniforms(self.seed or 0), divmod(t, self.period)
        here, there = place(path, k), place(path, k + 1)
        return self._folded(self.start + self.slope * (here * self.period + (there - here) * within))


@schedules.register("budget")
@dataclass(frozen=True, kw_only=True)
class Budget(Walled, Blocks):
    """Jump at random every `period` steps, until step `steps`, by no more than `budget` in all; the walls reflect it.

    With n = steps // period jumps and Laplace variables l, jump k is budget l_k / (|l_1| + ... + |l_n|): the shares are
    uniform on the simplex, the signs fair, and the total variation is `budget`, or less where a wall is hit in
    mid-jump. It is the variation budget V_T of Besbes, Gur and Zeevi (2014, arXiv:1405.3316 section 2).

    >>> jumps = Budget(start=0.0, budget=2.0, steps=100, low=-9.0, high=9.0, period=10, seed=0)
    >>> round(sum(abs(jumps(t + 1) - jumps(t)) for t in range(1000)), 9)
    2.0
    """

    budget: NonNegativeFloat
    steps: PositiveInt

    def __post_init__(self) -> None:
        """Refuse a time that is too short for a jump."""
        super().__post_init__()
        if self.steps < self.period:
            raise ValueError(f"budget: steps={self.steps} leaves no time for a jump after period={self.period}")

    def __call__(self, t: int) -> float:
        """Return where the jumps so far lead, folded between the walls."""
        seed, jumps = self.seed or 0, self.steps // self.period
        spent = place(Laplaces(seed), min(t // self.period, jumps)) / place(Laplaces(seed, sizes=True), jumps)
        return self._folded(self.start + self.budget * spent)

    def next_change(self, t: int) -> int | None:
        """Return the next multiple of `period` up to `steps`."""
        step = (t // self.period + 1) * self.period
        return step if step <= self.steps else None
