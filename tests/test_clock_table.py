"""Schedules on a clock of their own, looked up near and far, against asking them at every count."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lopgym.envs.build import batched, single
from lopgym.envs.clock_table import ClockTable
from lopgym.schedules import Schedule, from_plain

MIXED = {
    "poisson": {"kind": "poisson", "low": 0.0, "high": 1.0, "mean": 7.0, "seed": 3},
    "cycle": {"kind": "cycle", "values": [1.0, 2.0, 3.0], "period": 5},
    "sine": {"kind": "sine", "mean": 0.0, "amplitude": 1.0, "period": 11.0},
}
COUNTS = st.lists(st.integers(0, 600), min_size=1, max_size=4)


def _schedules() -> dict[str, Schedule]:
    return {name: from_plain(plain) for name, plain in MIXED.items()}


@cache
def _expected() -> list[tuple[list[float], int]]:
    """At each k, the values, and the number of counts up to it at which one of the schedules jumped, one by one."""
    schedules = _schedules().values()
    jumped = [bool(k) and any(one.next_change(k - 1) == k for one in schedules) for k in range(601)]
    return [([float(one(k)) for one in schedules], sum(jumped[: k + 1])) for k in range(601)]


@pytest.mark.parametrize("near", [0, 1 << 16])
@given(asked=st.lists(COUNTS, min_size=1, max_size=4))
def test_near_and_far_counts_tell_the_same(near: int, asked: list[list[int]]) -> None:
    """Whatever was asked for before, forwards or back, several at once: the schedules themselves say so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lopgym.envs.clock_table._NEAR", near)
        table = ClockTable(_schedules())
        for counts in asked:
            k = np.array(counts)
            values = np.stack([*table.values(k).values()], axis=1)
            expected = [_expected()[one] for one in counts]
            assert values.tolist() == [told for told, _ in expected]
            assert table.jumps(k).tolist() == [jumps for _, jumps in expected]


class _Asked:
    """A schedule that counts how often it is asked for a value."""

    smooth = False

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, t: int) -> float:
        self.times += 1
        return float(t // 1_000_000)

    def next_change(self, t: int) -> int | None:
        return (t // 1_000_000 + 1) * 1_000_000


def test_a_table_grows_with_what_is_asked_for() -> None:
    """Count after count, each is asked for once or twice; one far away costs a few questions, not a billion."""
    schedule = _Asked()
    table = ClockTable({"x": schedule})
    for k in range(300):
        table.values(np.array([k]))
    assert schedule.times <= 600
    assert table.values(np.array([10**8, 3]))["x"].tolist() == [100.0, 0.0]
    assert table.jumps(np.array([10**8, 3])).tolist() == [100, 0]
    assert schedule.times <= 620


@pytest.mark.parametrize("make", [single, lambda **options: batched(2, **options)])
def test_an_episode_far_ahead_is_reached_at_once(make: Any) -> None:
    """Episode a million million: its value, its number of tasks, and on to the next; the life stands where it was."""
    cycle = {"kind": "cycle", "values": [0.01, 0.02, 0.03], "period": 2}
    env = make(world="cartpole", drifts={"start_range": cycle}, clocks={"start_range": "episode"})
    env.reset(seed=0)
    for episode in (10**12, 10**12 + 1):
        _, info = env.reset(options={"episode": 10**12} if episode == 10**12 else None)
        told = [np.unique(info[key]).tolist() for key in ("task", "clock")]
        assert told == [[episode // 2], [0]]
        assert np.unique(info["drift"]["start_range"]).tolist() == [cycle["values"][episode // 2 % 3]]  # type: ignore[index]
