"""Random paths: running sums and recursions of independent draws, made block by block and cached.

Block b of a path draws from a generator of (seed, b) alone and continues from the end of block b - 1. The caches hold
what can be computed again at any time; they are not state. A path is its own key there: frozen, equal if alike.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lopgym.schedules.base import drawing

BLOCK = 1024  # steps of a path that are drawn together; even, so that steps which alternate do so across blocks

Places = NDArray[np.float64]


@dataclass(frozen=True)
class Path:
    """A running sum that starts at 0; subclasses say of what."""

    seed: int

    def extend(self, rng: np.random.Generator, last: float) -> Places:
        """Return the places after each step of one block, shape (BLOCK,), given the place before it."""
        return last + np.cumsum(self.steps(rng))

    def steps(self, rng: np.random.Generator) -> Places:
        """Draw the steps of one block, shape (BLOCK,)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Normals(Path):
    """Sum of standard normal steps."""

    def steps(self, rng: np.random.Generator) -> Places:
        """Draw standard normal numbers."""
        return rng.standard_normal(BLOCK)


@dataclass(frozen=True)
class Uniforms(Path):
    """Sum of steps that are uniform on [-1, 1)."""

    def steps(self, rng: np.random.Generator) -> Places:
        """Draw uniform numbers."""
        return rng.uniform(-1.0, 1.0, BLOCK)


@dataclass(frozen=True)
class Exponentials(Path):
    """Arrival times of a Poisson process of rate 1."""

    def steps(self, rng: np.random.Generator) -> Places:
        """Draw the gaps between arrivals."""
        return rng.standard_exponential(BLOCK)


@dataclass(frozen=True)
class Laplaces(Path):
    """Sum of Laplace steps of scale 1, or of their sizes."""

    sizes: bool = False

    def steps(self, rng: np.random.Generator) -> Places:
        """Draw the steps, the same whether their sizes are wanted or not."""
        drawn = rng.laplace(size=BLOCK)
        return np.abs(drawn) if self.sizes else drawn


@dataclass(frozen=True)
class Waits(Path):
    """Arrival times, in whole steps, of events that come with probability `chances`, taken in turns, at each step."""

    chances: tuple[float, ...]

    def steps(self, rng: np.random.Generator) -> Places:
        """Draw the steps between arrivals, each 1 or more."""
        return rng.geometric(np.resize(self.chances, BLOCK)).astype(np.float64)


@dataclass(frozen=True)
class Offsets(Path):
    """Sum of whole numbers that are uniform on 1 ... `largest`."""

    largest: int

    def steps(self, rng: np.random.Generator) -> Places:
        """Draw the whole numbers."""
        return rng.integers(1, self.largest, BLOCK, endpoint=True).astype(np.float64)


@dataclass(frozen=True)
class Reverting(Path):
    """The recursion x <- keep x + z with standard normal z."""

    keep: float

    def extend(self, rng: np.random.Generator, last: float) -> Places:
        """Return the places after each step of one block, shape (BLOCK,), given the place before it."""
        places = []
        for noise in rng.standard_normal(BLOCK).tolist():
            last = self.keep * last + noise
            places.append(last)
        return np.array(places)


@lru_cache(maxsize=256)
def _block(path: Path, block: int, last: float) -> Places:
    return path.extend(drawing(path.seed, block), last)


@lru_cache(maxsize=64)
def _ends(path: Path) -> list[float]:
    return [0.0]  # grows: the place before each block


def _extend(path: Path, ends: list[float]) -> None:
    ends.append(float(_block(path, len(ends) - 1, ends[-1])[-1]))


def place(path: Path, n: int) -> float:
    """Return where a path is after n steps."""
    block, within = divmod(n, BLOCK)
    ends = _ends(path)
    while len(ends) <= block:
        _extend(path, ends)
    return float(_block(path, block, ends[block])[within - 1]) if within else ends[block]


def arrivals(path: Path, level: float) -> int:
    """Return after how many steps a rising path is last at or below `level`: how many arrivals there were by then."""
    ends = _ends(path)
    while ends[-1] <= level:
        _extend(path, ends)
    block = bisect_right(ends, level) - 1
    return block * BLOCK + int(np.searchsorted(_block(path, block, ends[block]), level, side="right"))
