"""Random streams: named, independent, stateless, the same on every machine."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lopgym.seeding import CounterStream, derive, generator, mix

MASK = 2**64 - 1


def _mix(x: int) -> int:
    """The finaliser of SplitMix64 in Python's own integers, written from the paper."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def test_mix_is_splitmix64() -> None:
    """Golden: the first outputs of SplitMix64 from state 0, as its authors' C code prints them."""
    states = np.array([0x9E3779B97F4A7C15 * i & MASK for i in (1, 2, 3)], dtype=np.uint64)
    with np.errstate(over="ignore"):
        words = mix(states)
    assert [int(word) for word in words] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [int(word) for word in words] == [_mix(int(state)) for state in states]


@given(st.integers(0, 2**63), st.integers(0, 2**40), st.integers(0, 7))
@settings(derandomize=True, max_examples=50, deadline=None)
def test_words_by_a_second_implementation(seed: int, counter: int, draw: int) -> None:
    """In Python's own integers."""
    gamma = 0x9E3779B97F4A7C15
    key = _mix(_mix((seed + gamma) & MASK) ^ derive(0, "channel", "ball"))
    expected = _mix((_mix((key + counter * gamma) & MASK) + (draw + 1) * gamma) & MASK)
    stream = CounterStream([seed], "ball")
    counters = np.array([counter], dtype=np.int64)
    assert int(stream.words(counters, draw)[0]) == expected
    assert stream.uniform(counters, draw)[0] == (expected >> 11) / 2**53
    assert stream.integers(10, counters, draw)[0] == int((expected >> 11) / 2**53 * 10)


def test_derive_is_a_hash_of_the_names() -> None:
    """By hand for one stream; other seeds, names, orders and types of names are other streams."""
    digest = hashlib.sha256(b"3\x1fstr:drift\x1fint:7").digest()
    assert derive(3, "drift", 7) == int.from_bytes(digest[:8], "little") // 2
    others = {derive(3), derive(3, "drift"), derive(3, "drift", "7"), derive(3, 7, "drift"), derive(4, "drift", 7)}
    assert len(others | {derive(3, "drift", 7)}) == 6
    assert all(0 <= one < 2**63 for one in others)
    assert generator(3, "a").random() == np.random.default_rng(derive(3, "a")).random()


def test_a_copy_does_not_know_its_neighbours() -> None:
    """Copy i of seeds (s, s + 1, ...) draws what a lone copy of seed s + i draws, at its own counter."""
    counters = np.array([5, 0, 123456789])
    together = CounterStream([40, 41, 42], "x").words(counters)
    alone = [CounterStream([40 + i], "x").words(counters[i : i + 1])[0] for i in range(3)]
    assert together.tolist() == alone


@pytest.mark.parametrize("axis", ["counter", "seed", "draw", "channel"])
def test_numbers_are_uniform_and_independent_along_every_axis(axis: str) -> None:
    """Chi-squared over 64 bins, and no correlation of neighbours, for 8000 numbers along each thing that varies."""
    n = 8_000
    zeros = np.zeros(n, dtype=np.int64)
    numbers = {
        "counter": lambda: CounterStream(zeros, "a").uniform(np.arange(n)),
        "seed": lambda: CounterStream(list(range(n)), "a").uniform(zeros),
        "draw": lambda: np.array([CounterStream([0], "a").uniform(zeros[:1], draw)[0] for draw in range(n)]),
        "channel": lambda: np.array([CounterStream([0], str(i)).uniform(zeros[:1])[0] for i in range(n)]),
    }[axis]()
    counts = np.histogram(numbers, bins=64, range=(0, 1))[0]
    assert ((counts - n / 64) ** 2 / (n / 64)).sum() < 63 + 5 * (2 * 63) ** 0.5
    for lag in (1, 2, 3):
        assert abs(np.corrcoef(numbers[:-lag], numbers[lag:])[0, 1]) < 5 / n**0.5
    assert 0 <= numbers.min() < numbers.max() < 1


def test_integers_cover_their_range_evenly() -> None:
    """A fifth each, within five standard deviations; never the upper end."""
    counts = np.bincount(CounterStream([7], "a").integers(5, np.arange(10_000)), minlength=5)
    assert len(counts) == 5
    assert (np.abs(counts - 2000) < 5 * 40).all()
