"""The luck of a layer: random numbers for its copies, as many at a time as it needs, with nothing to save."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.gaussian import gaussian
from lopgym.envs.snapshot import Kept, Snapshot
from lopgym.envs.world import Mask
from lopgym.seeding import CounterStream


class Luck(Kept):
    """Random numbers as a function of (seed of the copy, number of its steps and beginnings so far).

    Copy i of a batch seeded s is lucky when the lone copy seeded s + i is. Without a seed the luck comes from the
    operating system.
    """

    kept = ("_count", "_seeds")

    def __init__(self, channel: str, copies: int, size: int = 1) -> None:
        """Give `size` numbers at a time to each of N copies; `channel` tells the luck of one layer from another's."""
        self._channel, self._size = channel, size
        self._count = np.zeros(copies, dtype=np.int64)
        self._open(np.random.SeedSequence().generate_state(copies, np.uint64).astype(np.uint64))

    def begin(self, mask: Mask, seeds: Sequence[int | None]) -> None:
        """Count a beginning of the masked copies; those of them that have a seed start anew."""
        started = mask & np.array([seed is not None for seed in seeds])
        if started.any():
            given = np.array([(seed or 0) % 2**64 for seed in seeds], dtype=np.uint64)
            self._count[started] = 0
            self._open(np.where(started, given, self._seeds))
        self._count[mask] += 1

    def step(self) -> None:
        """Count a step of every copy."""
        self._count += 1

    def uniform(self) -> NDArray[np.float64]:
        """Return numbers in [0, 1), shape (N, size)."""
        return self._stream.uniform(self._counters()).reshape(-1, self._size)

    def normal(self) -> NDArray[np.float64]:
        """Return standard normal numbers, shape (N, size)."""
        numbers: NDArray[np.float64] = gaussian(self._stream, self._counters())[0].reshape(-1, self._size)
        return numbers

    def restore(self, snapshot: Snapshot) -> None:
        """Be lucky from here on as at a snapshot."""
        super().restore(snapshot)
        self._open(self._seeds)

    def _counters(self) -> NDArray[np.int64]:
        """Return one counter a number: no two of a copy are ever the same, shape (N * size,)."""
        return (self._count[:, None] * self._size + np.arange(self._size)).ravel()

    def _open(self, seeds: NDArray[np.uint64]) -> None:
        self._seeds = seeds
        self._stream = CounterStream(np.repeat(seeds, self._size), self._channel)
