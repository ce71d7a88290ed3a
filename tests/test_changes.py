"""Schedules of all kinds, composed at random: changes by brute force, and values in any order of asking."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lopgym.schedules import Product, Schedule, Shift, Sum, Window, from_plain, paths, to_plain
from lopgym.schedules.base import unit
from tests.test_schedules import EXAMPLES

LAST = 80  # the steps for which the examples name the jumps of what moves anyway
Changes = frozenset[int]
Known = tuple[Schedule, Changes]  # and where, in 1 ... LAST - 1, it begins a new piece

_FAR = st.integers(0, 300_000)


def _known(example: Any) -> Known:
    """By brute force, the steps with another value than the one before; by the table, where a schedule moves anyway."""
    schedule = example.schedule
    seen = {t for t in range(1, LAST) if schedule(t) != schedule(t - 1)}
    return schedule, frozenset(example.jumps if schedule.smooth else seen)


EXAMPLE = [one for several in EXAMPLES.values() for one in several]
KNOWN = [_known(one) for one in EXAMPLE]


def _sum(parts: list[Known]) -> Known:
    return Sum(terms=tuple(part for part, _ in parts)), _all(parts)


def _product(parts: list[Known]) -> Known:
    return Product(factors=tuple(part for part, _ in parts)), _all(parts)


def _all(parts: list[Known]) -> Changes:
    return reduce(frozenset.union, (changes for _, changes in parts))


def _late(part: Known, by: int) -> Known:
    """Shift behind: the changes come later; those that this pushes beyond the last step are not asked for."""
    schedule, changes = part
    return Shift(of=schedule, by=-by), frozenset(t + by for t in changes if t + by < LAST)


def _window(inside: Known, outside: Known, start: int, length: int) -> Known:
    """A change of the one that is followed, or an edge; at an edge the other takes over, whatever its changes."""
    stop = start + length
    own = {t for t in inside[1] if start < t < stop} | {t for t in outside[1] if not start <= t <= stop}
    edges = {t for t in (start, stop) if 0 < t < LAST}
    return Window(inside=inside[0], outside=outside[0], start=start, stop=stop), frozenset(own | edges)


composed: st.SearchStrategy[Known] = st.recursive(
    st.sampled_from(KNOWN),
    lambda part: st.one_of(
        st.lists(part, min_size=1, max_size=3).map(_sum),
        st.lists(part, min_size=1, max_size=3).map(_product),
        st.builds(_late, part, st.integers(0, 30)),
        st.builds(_window, part, part, st.integers(0, 60), st.integers(1, 60)),
    ),
    max_leaves=6,
)


@given(known=composed)
@settings(derandomize=True, deadline=None, max_examples=100)
def test_changes_of_compositions_are_exact(known: Known) -> None:
    """At every step, `next_change` is the first later one at which, by the parts' own changes, a piece begins."""
    schedule, changes = known
    for t in range(LAST - 1):
        told = schedule.next_change(t)
        assert (told if told is not None and told < LAST else None) == min((u for u in changes if u > t), default=None)


@given(schedule=st.sampled_from([one.schedule for one in EXAMPLE if not one.schedule.smooth]), t=_FAR)
@settings(derandomize=True, deadline=None, max_examples=100)
def test_changes_far_away_are_exact(schedule: Schedule, t: int) -> None:
    """Up to the step before the next change the value is what it was, at the change it is another."""
    change = schedule.next_change(t)
    between = range(t, t + 400 if change is None else min(change, t + 400))
    assert len({schedule(u) for u in between}) == 1
    if change is not None:
        assert change > t
        assert schedule(t) == schedule(change - 1) != schedule(change)


@given(known=composed, steps=st.lists(st.one_of(st.integers(0, 200), _FAR), min_size=2, max_size=8), order=st.randoms())
@settings(derandomize=True, deadline=None, max_examples=60)
def test_values_do_not_depend_on_the_order_of_asking(known: Known, steps: list[int], order: Any) -> None:
    """Asked in another order, with nothing remembered, an equal schedule says the same of each step."""
    schedule = known[0]
    told = [(schedule(t), schedule.next_change(t)) for t in steps]
    other, shuffled = from_plain(to_plain(schedule)), order.sample(range(len(steps)), len(steps))
    for cache in (paths._block, paths._ends, unit):
        cache.cache_clear()
    again = {i: (other(steps[i]), other.next_change(steps[i])) for i in shuffled}
    assert [again[i] for i in range(len(steps))] == told


@pytest.mark.parametrize("schedule", [one.schedule for one in EXAMPLE], ids=lambda one: type(one).__name__)
def test_who_has_been_far_away_says_the_same_here(schedule: Schedule) -> None:
    """Hundreds of thousands of steps on, over many blocks of draws, and back."""
    near = [(schedule(t), schedule.next_change(t)) for t in range(0, 200, 7)]
    for cache in (paths._block, paths._ends, unit):
        cache.cache_clear()
    other = from_plain(to_plain(schedule))
    other(400_000)
    assert [(other(t), other.next_change(t)) for t in range(0, 200, 7)] == near
