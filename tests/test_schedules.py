"""Schedules: pure functions of the step, exact about their changes, and plain data."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
import yaml

from lopgym.schedules import (
    Constant,
    Count,
    Cycle,
    Linear,
    RandomWalk,
    Resample,
    Schedule,
    Sine,
    Steps,
    from_plain,
    schedules,
    seeded,
    to_plain,
)

EXAMPLES: dict[str, list[Schedule]] = {  # neighbouring pieces have different values, so that a change can be seen
    "constant": [Constant(value=2.5)],
    "count": [Count(period=1), Count(period=7)],
    "cycle": [Cycle(values=(1.0, 2.0, 5.0), period=4)],
    "steps": [Steps(values=(1.0, 5.0, 2.0), at=(1, 20)), Steps(values=(3.0,), at=())],
    "resample": [Resample(low=-1.0, high=4.0, period=5, seed=3), Resample(low=0.0, high=1.0, period=2)],
    "linear": [Linear(start=-1.0, end=3.0, steps=30)],
    "sine": [Sine(mean=1.0, amplitude=2.0, period=11.5, phase=0.25)],
    "random_walk": [RandomWalk(start=1.0, sd=0.3, low=0.0, high=2.0, period=3, seed=8)],
}
every_schedule = pytest.mark.parametrize(
    "schedule", [one for examples in EXAMPLES.values() for one in examples], ids=lambda one: str(one)
)
LAST = 80


def test_every_registered_schedule_has_an_example() -> None:
    """A new schedule needs a row in the table above, and a row means what it says."""
    assert EXAMPLES.keys() == {entry.name for entry in schedules}
    for name, examples in EXAMPLES.items():
        assert {to_plain(one)["kind"] for one in examples} == {name}


@every_schedule
def test_same_step_same_value_in_any_order(schedule: Schedule) -> None:
    """Forwards, backwards, shuffled, twice, on an equal schedule."""
    forwards = [schedule(t) for t in range(LAST)]
    order = [*range(LAST), *range(LAST)]
    random.Random(0).shuffle(order)
    other = from_plain(to_plain(schedule))
    assert {t: other(t) for t in order} == dict(enumerate(forwards))
    assert [schedule(t) for t in reversed(range(LAST))] == forwards[::-1]


@every_schedule
def test_next_change_is_where_the_value_changes(schedule: Schedule) -> None:
    """By brute force: the first later step with another value. A smooth schedule has no changes, but moves."""
    values = [schedule(t) for t in range(LAST)]
    for t in range(LAST - 10):
        later = [u for u in range(t + 1, LAST) if values[u] != values[t]]
        assert schedule.next_change(t) == (None if schedule.smooth or not later else later[0])
    assert schedule.smooth == (len(set(values)) > 1 and schedule.next_change(0) is None)


@every_schedule
def test_plain_data_round_trip(schedule: Schedule) -> None:
    """Through JSON and through YAML, an equal schedule comes back."""
    plain = to_plain(schedule)
    assert from_plain(json.loads(json.dumps(plain))) == schedule
    assert from_plain(yaml.safe_load(yaml.safe_dump(plain))) == schedule
    assert to_plain(plain) == plain
    assert from_plain(schedule) is schedule


def test_numbers_are_constants() -> None:
    """Where a schedule is wanted, a number will do."""
    assert from_plain(3) == Constant(value=3)
    assert to_plain(2.5) == {"kind": "constant", "value": 2.5}
    assert json.dumps(to_plain(np.float32(0.5))) == '{"kind": "constant", "value": 0.5}'


def test_fields_become_what_they_were_declared() -> None:
    """5e4 steps are 50000 steps; numbers and arrays of NumPy can be written as JSON."""
    made = Cycle(values=np.array([9.5, 20.0]), period=5e4)  # type: ignore[arg-type]
    assert made == Cycle(values=(9.5, 20.0), period=50_000)
    assert json.dumps(to_plain(made)) == '{"kind": "cycle", "period": 50000, "values": [9.5, 20.0]}'
    assert Resample(low=0.0, high=1.0, period=np.int64(3)) == Resample(low=0.0, high=1.0, period=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"kind": "cycel", "values": [1], "period": 2}, "no schedule of kind 'cycel'; did you mean 'cycle'"),
        ({"values": [1], "period": 2}, "no schedule of kind None"),
        ({"kind": "cycle", "values": [1], "perod": 2}, "has no option 'perod'; did you mean 'period'"),
        ({"kind": "cycle", "values": [1]}, "needs the option 'period'"),
        ({"kind": "count", "period": 0}, "period=0 must be > 0"),
        ({"kind": "cycle", "values": [1, 2], "period": 2.5}, "period=2.5 must be a whole number"),
        ({"kind": "cycle", "values": [], "period": 2}, "values=.* must have at least 1 value"),
        ({"kind": "cycle", "values": 9.8, "period": 2}, "values=9.8 must be a list of numbers"),
        ({"kind": "cycle", "values": ["a"], "period": 2}, "values='a' must be a number"),
        ({"kind": "sine", "mean": 0, "amplitude": 1, "period": 0}, "period=0 must be > 0"),
        ({"kind": "sine", "mean": 0, "amplitude": -1, "period": 3}, "amplitude=-1 must be >= 0"),
        ({"kind": "linear", "start": 0, "end": True, "steps": 3}, "end=True must be a number"),
        ("9.8", "'9.8' is no schedule: give a number, a Schedule, or a mapping"),
        (None, "None is no schedule"),
        ({"kind": "steps", "values": [1, 2], "at": []}, "2 values need 1 steps"),
        ({"kind": "steps", "values": [1, 2, 3], "at": [5, 5]}, "must be positive and rising"),
        ({"kind": "resample", "low": 2, "high": 1, "period": 3}, "low=2 is above high=1"),
        ({"kind": "random_walk", "start": 5, "sd": 1, "low": 0, "high": 1, "period": 1}, "low <= start <= high"),
    ],
)
def test_wrong_data_gets_one_clear_line(data: Any, complaint: str) -> None:
    """What came, what is allowed, what was probably meant."""
    with pytest.raises(ValueError, match=complaint) as error:
        from_plain(data)
    assert "\n" not in str(error.value)


def test_an_unregistered_schedule_cannot_be_written_down() -> None:
    """It works, but has no plain data."""

    class Own(Constant):
        """Somebody's own."""

    with pytest.raises(ValueError, match="not a registered schedule"):
        to_plain(Own(value=1.0))


def test_seeds_are_given_to_those_that_want_one() -> None:
    """A random schedule without a seed gets it; with one, or without randomness, it stays as it is."""
    bare = Resample(low=0.0, high=1.0, period=2)
    assert seeded(bare, 7) == Resample(low=0.0, high=1.0, period=2, seed=7)
    for other in (Resample(low=0.0, high=1.0, period=2, seed=3), Count(period=2)):
        assert seeded(other, 7) is other


def test_resample_draws_as_numpy_does() -> None:
    """Golden: piece k is the first uniform number of `default_rng([seed, k])`."""
    schedule = Resample(low=2.0, high=6.0, period=10, seed=5)
    for t in (0, 9, 10, 35):
        assert schedule(t) == 2.0 + 4.0 * np.random.default_rng([5, t // 10]).random()


def test_resample_covers_its_interval_evenly() -> None:
    """Mean and spread of 2000 draws of the uniform distribution on [-1, 3)."""
    draws = [Resample(low=-1.0, high=3.0, period=1, seed=1)(t) for t in range(2000)]
    assert abs(np.mean(draws) - 1.0) < 0.1
    assert abs(np.std(draws) - 4 / 12**0.5) < 0.05
    assert -1.0 <= min(draws) < max(draws) < 3.0


def test_random_walk_is_the_sum_of_its_steps() -> None:
    """By a second implementation without blocks or reflection, far walls; over the boundary of a block of draws."""
    schedule = RandomWalk(start=5.0, sd=0.5, low=-1e6, high=1e6, period=2, seed=4)
    draws = np.concatenate([np.random.default_rng([4, block]).standard_normal(1024) for block in range(3)])
    for t in (0, 1, 2, 7, 2047, 2048, 2049, 2 * 1024 * 2 + 5):
        assert schedule(t) == pytest.approx(5.0 + 0.5 * draws[: t // 2].sum(), abs=1e-8)


def test_random_walk_bounces_off_its_walls() -> None:
    """By a second implementation that bounces until it is inside; it visits both walls."""
    schedule = RandomWalk(start=0.5, sd=0.7, low=0.0, high=1.0, period=1, seed=4)
    free = 0.5 + 0.7 * np.concatenate([[0.0], np.cumsum(np.random.default_rng([4, 0]).standard_normal(300))])
    for t, place in enumerate(free):
        while not 0.0 <= place <= 1.0:
            place = -place if place < 0.0 else 2.0 - place
        assert schedule(t) == pytest.approx(place, abs=1e-9)
    values = [schedule(t) for t in range(300)]
    assert min(values) < 0.05
    assert max(values) > 0.95
