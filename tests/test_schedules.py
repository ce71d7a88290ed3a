"""Schedules: pure functions of the step, exact about their changes, and plain data."""

from __future__ import annotations

import copy
import json
import math
import pickle
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from lopgym.envs.drift_clock import DriftClock
from lopgym.schedules import (
    Budget,
    Burst,
    Call,
    Categorical,
    Constant,
    Count,
    Cycle,
    Dirichlet,
    Exponential,
    Fourier,
    Geometric,
    Hazard,
    Interpolate,
    Linear,
    Lipschitz,
    LogUniform,
    OrnsteinUhlenbeck,
    Poisson,
    Polynomial,
    Product,
    RandomWalk,
    Resample,
    Revisit,
    Sawtooth,
    Schedule,
    Series,
    Shift,
    Sigmoid,
    Sine,
    Square,
    Steps,
    Sum,
    Tape,
    Triangle,
    Window,
    Windows,
    from_plain,
    paths,
    schedules,
    seeded,
    to_plain,
)
from lopgym.studies.schema import configurable

LAST = 80
TAPE = Path(__file__).parent / "tape.jsonl"  # says of `gravity` twice the same


class Example(NamedTuple):
    """A schedule, and the steps below `LAST` at which it jumps, where brute force cannot see them: it moves anyway."""

    schedule: Schedule
    jumps: tuple[int, ...] = ()


SWING = Sine(mean=1.0, amplitude=0.5, period=17.0)
EXAMPLES: dict[str, list[Example]] = {  # neighbouring pieces have different values, so that a change can be seen
    "constant": [Example(Constant(value=2.5))],
    "count": [Example(Count(period=1)), Example(Count(period=7))],
    "cycle": [Example(Cycle(values=(1.0, 2.0, 5.0), period=4))],
    "steps": [Example(Steps(values=(1.0, 5.0, 2.0), at=(1, 20))), Example(Steps(values=(3.0,), at=()))],
    "interpolate": [
        Example(Interpolate(values=(1.0, 3.0, 2.0), period=20, blend=5), (20, 40, 60)),
        Example(Interpolate(values=(1.0, 3.0), period=30, blend=30), (30, 60)),
    ],
    "resample": [
        Example(Resample(low=-1.0, high=4.0, period=5, seed=3)),
        Example(Resample(low=0.0, high=1.0, period=2)),
    ],
    "log_uniform": [Example(LogUniform(low=0.1, high=10.0, period=5, seed=3))],
    "categorical": [
        Example(Categorical(values=(1.0, 2.0, 3.0), weights=(8, 1, 0), period=2, seed=3)),
        Example(Categorical(values=(1.0, 2.0), weights=(0.0, 2.0), period=2, seed=3)),
    ],
    "dirichlet": [Example(Dirichlet(values=(1.0, 2.0, 7.0), concentration=0.3, period=5, seed=3))],
    "revisit": [
        Example(Revisit(values=(1.0, 2.0, 7.0), period=4, seed=3)),
        Example(Revisit(values=(4.0, 6.0), period=1)),
    ],
    "linear": [Example(Linear(start=-1.0, end=3.0, steps=30))],
    "polynomial": [Example(Polynomial(coefficients=(1.0, -3.0, 0.0, 2.0), steps=50))],
    "exponential": [Example(Exponential(start=1.0, end=5.0, timescale=12.5))],
    "sigmoid": [Example(Sigmoid(start=1.0, end=5.0, middle=40, width=3.0))],
    "sine": [Example(Sine(mean=1.0, amplitude=2.0, period=11.5, phase=0.25))],
    "triangle": [Example(Triangle(mean=1.0, amplitude=2.0, period=11.5, phase=0.25))],
    "square": [
        Example(Square(low=0.0, high=1.0, period=10, duty=0.3)),
        Example(Square(low=0.0, high=1.0, period=3)),
        Example(Square(low=0.0, high=1.0, period=5, duty=1.0)),
    ],
    "sawtooth": [Example(Sawtooth(start=2.0, end=-1.0, period=25), (25, 50, 75))],
    "fourier": [
        Example(Fourier(mean=1.0, amplitudes=(1.0, 0.0, 0.5), period=30, seed=3)),
        Example(Fourier(mean=0.0, amplitudes=(2.0,), phases=(0.25,), period=9.5)),
    ],
    "random_walk": [
        Example(RandomWalk(start=1.0, sd=0.3, low=0.0, high=2.0, period=3, seed=8)),
        Example(RandomWalk(start=1.0, sd=0.1, drift=-0.2, low=0.0, high=2.0, period=3, seed=8)),
    ],
    "ornstein_uhlenbeck": [
        Example(OrnsteinUhlenbeck(mean=1.0, sd=0.5, timescale=9, start=2.0, low=0.0, high=2.0, period=4, seed=8))
    ],
    "lipschitz": [Example(Lipschitz(start=1.0, slope=0.1, low=0.0, high=2.0, period=6, seed=8))],
    "budget": [
        Example(Budget(start=1.0, budget=3.0, steps=50, low=0.0, high=2.0, period=6, seed=8)),
        Example(Budget(start=1.0, budget=3.0, steps=48, low=0.0, high=2.0, period=6, seed=8)),
    ],
    "poisson": [Example(Poisson(low=0.0, high=1.0, mean=6.0, seed=3)), Example(Poisson(low=0.0, high=1.0, mean=0.4))],
    "hazard": [
        Example(Hazard(low=0.0, high=1.0, mean=3.0, timescale=20.0, seed=3)),
        Example(Hazard(low=0.0, high=1.0, mean=40.0, timescale=1.0, seed=3)),
    ],
    "geometric": [
        Example(Geometric(low=0.0, high=1.0, chance=0.2, seed=3)),
        Example(Geometric(low=0.0, high=1.0, chance=1.0)),
    ],
    "burst": [Example(Burst(quiet=1.0, burst=9.0, mean_quiet=8.0, mean_burst=1.5, seed=3))],
    "series": [
        Example(Series(values=(3.0, 1.0, 2.0), period=7)),
        Example(Series(values=(3.0, 1.0, 2.0), period=7, after="repeat")),
        Example(Series(values=(3.0, 1.0, 2.0), period=7, after="repeat", between="linear")),
        Example(Series(values=(3.0,), period=7, after="repeat")),
    ],
    "tape": [
        Example(Tape(path=str(TAPE), parameter="gravity")),
        Example(Tape(path=str(TAPE), parameter="wind", between="linear")),
    ],
    "sum": [
        Example(Sum(terms=(Count(period=7), Cycle(values=(0.0, 0.5, 0.25), period=4)))),
        Example(Sum(terms=(SWING, Cycle(values=(0.0, 3.0), period=20))), (20, 40, 60)),
        Example(Sum(terms=(Poisson(low=0.0, high=1.0, mean=9.0), Poisson(low=0.0, high=1.0, mean=9.0)))),
    ],
    "product": [Example(Product(factors=(2.0, Cycle(values=(1.0, 3.0), period=20), SWING)), (20, 40, 60))],
    "shift": [
        Example(Shift(of=Cycle(values=(1.0, 2.0, 5.0), period=9), by=5)),
        Example(Shift(of=Cycle(values=(1.0, 2.0, 5.0), period=9), by=-13)),
    ],
    "window": [
        Example(Window(inside=Count(period=7), outside=-1.0, start=11, stop=40)),
        Example(Window(inside=SWING, outside=Cycle(values=(7.0, 9.0), period=20), start=0, stop=50), (50, 60)),
    ],
    "windows": [
        Example(Windows(inside=Count(period=7), outside=-1.0, starts=(0, 20, 30), stops=(5, 30, 50))),
        Example(
            Windows(inside=SWING, outside=Cycle(values=(7.0, 9.0), period=20), starts=(5, 45), stops=(15, 70)),
            (5, 15, 20, 40, 45, 70),
        ),
    ],
}
examples = [example for several in EXAMPLES.values() for example in several]
CALLS = [Example(Call(function=lambda t: t % 13, period=1)), Example(Call(function=math.sqrt))]
every_example = pytest.mark.parametrize("example", examples + CALLS, ids=lambda one: type(one.schedule).__name__)
every_schedule = pytest.mark.parametrize("schedule", [one for one, _ in examples], ids=lambda one: type(one).__name__)
every_kind = pytest.mark.parametrize("kind", EXAMPLES)


def test_every_registered_schedule_has_an_example() -> None:
    """A new schedule needs a row in the table above, and a row means what it says."""
    assert EXAMPLES.keys() == {entry.name for entry in schedules}
    for name, several in EXAMPLES.items():
        assert {to_plain(one)["kind"] for one, _ in several} == {name}


@every_schedule
def test_same_step_same_value_in_any_order(schedule: Schedule) -> None:
    """Forwards, backwards, shuffled, twice, on an equal schedule, with nothing left in the caches."""
    forwards = [schedule(t) for t in range(LAST)]
    order = [*range(LAST), *range(LAST)]
    random.Random(0).shuffle(order)
    paths._block.cache_clear()
    paths._ends.cache_clear()
    other = from_plain(to_plain(schedule))
    assert other(5000) == schedule(5000)
    assert {t: other(t) for t in order} == dict(enumerate(forwards))
    assert [schedule(t) for t in reversed(range(LAST))] == forwards[::-1]


@every_example
def test_next_change_is_where_the_value_changes(example: Example) -> None:
    """By brute force: the first later step with another value; for one that moves anyway, the steps in the table."""
    schedule = example.schedule
    values = [schedule(t) for t in range(LAST)]
    seen = [t for t in range(1, LAST) if values[t] != values[t - 1]]
    changes = list(example.jumps) if schedule.smooth else seen
    for t in range(LAST - 1):
        told = schedule.next_change(t)
        assert (told if told is not None and told < LAST else None) == next((u for u in changes if u > t), None)
    if schedule.smooth:
        assert set(seen) > set(example.jumps)


@every_schedule
def test_no_value_is_beyond_the_extremes(schedule: Schedule) -> None:
    """Of those that say how far they go, and all that draw between `low` and `high` do."""
    low, high = sorted(getattr(schedule, "extremes", (-math.inf, math.inf)))
    assert all(low <= schedule(t) <= high for t in [*range(LAST), 10**6])
    assert math.isfinite(high) or not {"low", "amplitude", "end"} & to_plain(schedule).keys()


@given(ends=st.tuples(*[st.floats(-1e6, 1e6)] * 2), kind=st.sampled_from(["linear", "exponential", "sigmoid"]))
@settings(derandomize=True, max_examples=60, deadline=None)
def test_a_trend_never_leaves_its_ends(ends: tuple[float, float], kind: str) -> None:
    """Not by rounding either: an end may be a bound of the parameter. In the long run it is at the end, exactly."""
    low, high = sorted(ends)
    options = {"linear": {"steps": 30}, "exponential": {"timescale": 1.0}, "sigmoid": {"middle": 15.0, "width": 0.3}}
    trend = from_plain({"kind": kind, "start": ends[0], "end": ends[1], **options[kind]})
    values = [trend(t) for t in range(60)]
    assert low <= min(values) <= max(values) <= high
    assert values[-1] == ends[1]


@every_example
def test_far_away_it_is_what_it_is_here(example: Example) -> None:
    """A million steps on it has a finite value, and the next change is later."""
    t = 1_000_000
    change = example.schedule.next_change(t)
    assert math.isfinite(example.schedule(t))
    assert change is None or change > t


@every_example
def test_the_clock_of_a_world_follows_it(example: Example) -> None:
    """Step by step, with others, in strides and by seeking: its value, and one task more at every change."""
    schedule = seeded(example.schedule, 0)
    for stride in (1, 3):
        clock = DriftClock({"it": schedule, "other": 1.0}, world_seed=0)
        sought = DriftClock({"it": schedule}, world_seed=0)
        for t in range(stride, LAST, stride):
            clock.advance(stride)
            sought.seek(t)
            changes = sum(schedule.next_change(s) == s + 1 for s in range(t))
            assert (clock.values["it"], clock.task) == (schedule(t), changes)
            assert (sought.values["it"], sought.task) == (schedule(t), changes)


@every_schedule
def test_copies_are_equal(schedule: Schedule) -> None:
    """Pickled, copied and made again, it has the same values; equal schedules have one hash."""
    for other in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule), from_plain(to_plain(schedule))):
        assert other == schedule
        assert hash(other) == hash(schedule)
        assert [other(t) for t in range(20)] == [schedule(t) for t in range(20)]


@every_kind
def test_a_seed_is_a_realisation(kind: str) -> None:
    """Whatever has a seed differs between seeds, without exception, and is given one by a world."""
    made = EXAMPLES[kind][0].schedule
    plain = to_plain(made)
    if "seed" not in plain:
        assert "seed=None" in str(made) or seeded(made, 1) is made
        return
    worlds = [from_plain(plain | {"seed": seed}) for seed in range(20)]
    assert len({tuple(world(t) for t in range(150)) for world in worlds}) == 20
    assert seeded(from_plain(plain | {"seed": None}), 7) == from_plain(plain | {"seed": 7})


def test_schedules_inside_another_get_seeds_of_their_own() -> None:
    """Two alike in a sum are two realisations; a seed that was given is kept; nothing random, nothing new."""
    bare, fixed = Resample(low=0.0, high=1.0, period=1), Resample(low=0.0, high=1.0, period=1, seed=5)
    both = seeded(Sum(terms=(bare, bare, fixed)), 7)
    assert isinstance(both, Sum)
    first, second, third = both.terms
    assert first(0) != second(0)
    assert third is fixed
    other = seeded(Sum(terms=(bare, bare, fixed)), 8)
    assert isinstance(other, Sum)
    assert len({first(0), second(0), other.terms[0](0), other.terms[1](0)}) == 4
    deep = seeded(Window(inside=Shift(of=bare, by=3), outside=Product(factors=(1.0, bare)), start=1, stop=9), 7)
    assert deep(0) != deep(3)
    assert "None" not in str(deep)
    still = Sum(terms=(1.0, Shift(of=Count(period=2), by=1)))
    assert seeded(still, 7) is still


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
        ({"values": [1], "period": 2}, "a schedule needs its `kind`; known: budget, "),
        ({"kind": "cycle", "values": [1], "perod": 2}, "has no option 'perod'; did you mean 'period'"),
        ({"kind": "cycle", "values": [1]}, "needs the option 'period'"),
        ({"kind": "count", "period": 0}, "period=0 must be > 0"),
        ({"kind": "cycle", "values": [1, 2], "period": 2.5}, "period=2.5 must be a whole number"),
        ({"kind": "cycle", "values": [], "period": 2}, "values=.* must have at least 1 value"),
        ({"kind": "cycle", "values": 9.8, "period": 2}, "values=9.8 must be a list"),
        ({"kind": "constant", "value": math.nan}, "value=nan must be a number"),
        ({"kind": "constant", "value": "9"}, "value='9' must be a number"),
        ({"kind": "resample", "low": 0, "high": 1, "period": 3, "seed": -1}, "seed=-1 must be >= 0"),
        ({"kind": "square", "low": 0, "high": 1, "period": 3, "duty": 1.5}, "duty=1.5 must be <= 1"),
        ({"kind": "series", "values": [1], "period": 3, "between": "line"}, "did you mean 'linear'"),
        ({"kind": "tape", "path": 3, "parameter": "gravity"}, "path=3 must be text"),
        ({"kind": "sum", "terms": []}, "terms=.* must have at least 1 value"),
        ({"kind": "sum", "terms": [1, "x"]}, "terms: 'x' is no schedule"),
        ({"kind": "shift", "of": {"kind": "cuont", "period": 3}, "by": 1}, "of: no schedule of kind 'cuont'.*'count'"),
        ({"kind": "window", "inside": 1, "outside": 2, "start": 5, "stop": 5}, "start=5 must be before stop=5"),
        ({"kind": "windows", "inside": 1, "outside": 2, "starts": [], "stops": []}, "starts=.* at least 1 value"),
        ({"kind": "windows", "inside": 1, "outside": 2, "starts": [1, 9], "stops": [5]}, "2 starts need as many stops"),
        ({"kind": "windows", "inside": 1, "outside": 2, "starts": [5], "stops": [5]}, "from 5 to 5 is empty"),
        (
            {"kind": "windows", "inside": 1, "outside": 2, "starts": [1, 8], "stops": [9, 12]},
            "the one from 8 must not begin before that from 1 ends, at 9",
        ),
        ({"kind": "revisit", "values": [1], "period": 2}, "must have at least 2 values"),
        ({"kind": "revisit", "values": [1, 1.0], "period": 2}, "must differ from one another"),
        ({"kind": "categorical", "values": [1, 2], "weights": [1], "period": 2}, "2 values need as many weights"),
        ({"kind": "categorical", "values": [1], "weights": [0], "period": 2}, "need as many weights, not"),
        (
            {"kind": "categorical", "values": [1, 2, 1], "weights": [1, 1e-5, 1], "period": 2},
            "hardly ever draw another value; use `poisson`",
        ),
        ({"kind": "log_uniform", "low": 2, "high": 1, "period": 3}, "low=2 is above high=1"),
        ({"kind": "poisson", "low": 2, "high": 1, "mean": 3}, "poisson: low=2 is above high=1"),
        ({"kind": "geometric", "low": 0, "high": 1, "chance": 0}, "chance=0 must be > 0"),
        ({"kind": "burst", "quiet": 0, "burst": 1, "mean_quiet": 3, "mean_burst": 0.5}, "mean_burst=0.5 must be >= 1"),
        ({"kind": "interpolate", "values": [1, 2], "period": 3, "blend": 4}, "blend=4 must be <= period=3"),
        ({"kind": "fourier", "mean": 0, "amplitudes": [1], "phases": [0, 1], "period": 3}, "1 amplitudes need 1"),
        (
            {"kind": "budget", "start": 0, "low": 0, "high": 1, "period": 9, "budget": 1, "steps": 8},
            "steps=8 leaves no time",
        ),
        ({"kind": "cycle", "values": ["a"], "period": 2}, "values='a' must be a number"),
        ({"kind": "sine", "mean": 0, "amplitude": 1, "period": 0}, "period=0 must be > 0"),
        ({"kind": "sine", "mean": 0, "amplitude": -1, "period": 3}, "amplitude=-1 must be >= 0"),
        ({"kind": "linear", "start": 0, "end": True, "steps": 3}, "end=True must be a number"),
        ("9.8", "'9.8' is no schedule: give a number, a Schedule, or a mapping"),
        (None, "None is no schedule"),
        (math.sqrt, r"is no schedule: wrap it in Call\(function=...\)"),
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

    for one in (Own(value=1.0), Call(function=math.sqrt), Sum(terms=(1.0, Call(function=math.sqrt)))):
        with pytest.raises(ValueError, match="not a registered schedule and cannot be written as plain data"):
            to_plain(one)


@pytest.mark.parametrize("wrong", [{"function": 3}, {"function": math.sqrt, "period": 0}])
def test_calls_need_a_function_and_steps(wrong: dict[str, Any]) -> None:
    """Neither a number nor pieces without steps."""
    with pytest.raises(ValueError, match="must be"):
        Call(**wrong)


def test_seeds_are_given_to_those_that_want_one() -> None:
    """A random schedule without a seed gets it; with one, or without randomness, it stays as it is."""
    bare = Resample(low=0.0, high=1.0, period=2)
    assert seeded(bare, 7) == Resample(low=0.0, high=1.0, period=2, seed=7)
    for other in (Resample(low=0.0, high=1.0, period=2, seed=3), Count(period=2)):
        assert seeded(other, 7) is other


@every_schedule
def test_a_config_takes_it(schedule: Schedule) -> None:
    """The model derived from the signatures validates what `to_plain` writes, and keeps it."""
    read = TypeAdapter(configurable(Schedule)).validate_python(to_plain(schedule))
    assert from_plain(read.model_dump(mode="json")) == schedule


def test_a_config_says_where_inside_a_schedule_the_fault_is() -> None:
    """Schedules inside schedules are validated each by its own signature; numbers are constants there, too."""
    adapter = TypeAdapter(configurable(Schedule))
    inner = {"kind": "shift", "of": {"kind": "sine", "mean": 0, "amplitude": -1, "period": 5}, "by": 2}
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python({"kind": "sum", "terms": [9.8, inner]})
    (fault,) = caught.value.errors()
    assert [part for part in fault["loc"] if part not in ("sum", "shift", "sine")] == ["terms", 1, "of", "amplitude"]
    number = adapter.validate_python({"kind": "shift", "of": 9.8, "by": 2})
    assert number.of.model_dump() == {"kind": "constant", "value": 9.8}
