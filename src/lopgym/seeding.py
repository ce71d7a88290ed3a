"""One seed to many named, independent random streams.

Two kinds. `generator` and `derive` name a stream by words: whatever else draws, a stream's numbers stay what they are.
`CounterStream` is a function of a counter and keeps no state at all: batched worlds draw from it, one number a copy.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Counters = NDArray[np.uint64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, the increment of SplitMix64
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S11 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(11)


def derive(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for the stream called `names` under `seed`.

    >>> derive(0, "gravity") == derive(0, "gravity"), derive(0, "gravity") == derive(1, "gravity")
    (True, False)
    """
    words = "\x1f".join([str(int(seed)), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return NumPy's default generator, seeded for the stream called `names` under `seed`."""
    return np.random.default_rng(derive(seed, *names))


def mix(x: Counters) -> Counters:
    """Scramble 64-bit words: the finaliser of SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195)."""
    x = (x ^ (x >> _S30)) * _MIX1
    x = (x ^ (x >> _S27)) * _MIX2
    return x ^ (x >> _S31)


class CounterStream:
    """Random numbers as a pure function of (seed, counter), vectorised over copies.

    Copy i of a batch seeded s draws what a lone copy seeded s + i draws, and nothing has to be saved to go on.
    """

    def __init__(self, seeds: NDArray[np.int64] | list[int], channel: str) -> None:
        """Open the stream `channel` of each copy; `seeds` has shape (N,)."""
        salt = np.uint64(derive(0, "channel", channel))
        self._keys = mix(mix(np.asarray(seeds, dtype=np.uint64) + _GAMMA) ^ salt)

    def words(self, counters: NDArray[np.int64], draw: int = 0) -> Counters:
        """Return 64 random bits a copy; `counters` (N,) says when, `draw` which of several numbers at that time."""
        at = mix(self._keys + np.asarray(counters).astype(np.uint64) * _GAMMA)
        return mix(at + np.uint64((draw + 1) * int(_GAMMA) % 2**64))  # by Python: a NumPy scalar warns when it wraps

    def uniform(self, counters: NDArray[np.int64], draw: int = 0) -> NDArray[np.float64]:
        """Return a number in [0, 1) a copy, with 53 random bits."""
        return (self.words(counters, draw) >> _S11).astype(np.float64) * 2.0**-53

    def integers(self, high: int, counters: NDArray[np.int64], draw: int = 0) -> NDArray[np.int64]:
        """Return an integer in [0, high) a copy. The bias is below high * 2^-53."""
        return (self.uniform(counters, draw) * high).astype(np.int64)
