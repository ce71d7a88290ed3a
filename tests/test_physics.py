"""Parameters that drift: bounds, whole numbers, derived quantities, plain attributes."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lopgym.physics import Parametric, Physics, param


@dataclass(frozen=True, eq=False)
class PipePhysics(Physics):
    """A pipe."""

    width: float = param(2.0, low=0.5, high=8.0, unit="m", doc="how wide")
    bends: int = param(1, low=0, high=9, unit="index", doc="how many bends")

    @property
    def area(self) -> float:
        """Square of the width."""
        return self.width * self.width


class Pipe(Parametric):
    """Something with a pipe's physics."""

    width: Any
    bends: Any
    area: Any

    def __init__(self) -> None:
        """Start with the defaults."""
        self.physics = PipePhysics()
        self._write_physics()


@dataclass(frozen=True, eq=False)
class KnotPhysics(Physics):
    """Quantities that hang on each other in every way."""

    a: float = param(1.0, low=0.0, high=9.0, unit="1", doc="a number")
    b: float = param(2.0, low=0.0, high=9.0, unit="1", doc="a number")
    c: float = param(3.0, low=0.0, high=9.0, unit="1", doc="a number")

    @property
    def double(self) -> float:
        """Of a only."""
        return 2 * self.a

    @property
    def chain(self) -> float:
        """Of a by way of another quantity, and of b."""
        return self.double + self.b

    @property
    def branch(self) -> float:
        """Of b, and of one of the others."""
        return self.a if self.b > 4 else self.c

    @property
    def fixed(self) -> float:
        """Of nothing."""
        return 7.0

    @property
    def by_method(self) -> float:
        """Of who knows what."""
        return self._sum()

    @property
    def by_function(self) -> float:
        """Of who knows what."""
        return _product(self)

    @property
    def by_closure(self) -> float:
        """Of who knows what."""
        return sum(getattr(self, name) for name in "ab")

    def _sum(self) -> float:
        return self.a + self.c


def _product(knot: KnotPhysics) -> float:
    return knot.b * knot.c


class Knot(Parametric):
    """Something with a knot's physics, in which b is called B, and c is what others call the chain."""

    physics_type = KnotPhysics
    other_names: ClassVar[dict[str, str]] = {"B": "b", "c": "chain"}

    def __init__(self) -> None:
        """Start with the defaults."""
        self.physics = KnotPhysics()
        self._write_physics()


def test_names_and_derived() -> None:
    """Parameters in order of declaration; derived quantities are the properties."""
    assert PipePhysics.names() == ("width", "bends")
    assert PipePhysics.derived() == ("area",)


def test_set_physics_writes_parameters_and_what_follows_from_them() -> None:
    """Plain attributes, derived ones included, at the start and after a change."""
    pipe = Pipe()
    assert (pipe.width, pipe.bends, pipe.area) == (2.0, 1, 4.0)
    pipe.set_physics(width=3.0)
    assert (pipe.width, pipe.bends, pipe.area) == (3.0, 1, 9.0)
    pipe.set_physics(width=np.array([1.0, 2.0]), bends=np.array([0.0, 3.0]))
    assert pipe.area.tolist() == [1.0, 4.0]
    assert pipe.bends.tolist() == [0, 3]
    assert pipe.bends.dtype == np.int64


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"width": 0.4}, r"width=0.4 is outside \[0.5, 8.0\] m"),
        ({"width": 9}, r"width=9 is outside \[0.5, 8.0\] m"),
        ({"width": float("nan")}, "width=nan is outside"),
        ({"width": np.array([1.0, 99.0])}, r"width=\[ 1. 99.\] is outside"),
        ({"bends": 1.5}, "bends=1.5 must be a whole number"),
        ({"bends": np.array([1.0, 1.5])}, "must be a whole number"),
        ({"width": 3.0, "bends": -1}, r"bends=-1 is outside \[0, 9\] index"),
    ],
)
def test_bad_values_are_refused_by_name_and_change_nothing(change: dict[str, Any], complaint: str) -> None:
    """Not even the good half of a change is made."""
    pipe = Pipe()
    with pytest.raises(ValueError, match=complaint):
        pipe.set_physics(**change)
    assert (pipe.width, pipe.bends, pipe.area) == (2.0, 1, 4.0)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    """The message says whose parameter is missing and what was probably meant."""
    with pytest.raises(TypeError, match="Pipe has no parameter 'widht'; did you mean 'width'"):
        Pipe().set_physics(widht=1.0)


def test_bounds_are_allowed_and_whole_floats_become_ints() -> None:
    """The ends belong to the interval; 3.0 bends are 3 bends."""
    assert [PipePhysics(width=value).width for value in (0.5, 8.0)] == [0.5, 8.0]
    bends = PipePhysics(bends=3.0).bends  # type: ignore[arg-type]
    assert bends == 3
    assert type(bends) is int


def test_followers_by_hand() -> None:
    """In whatever branch and by whatever chain; what cannot be followed by reading follows everything."""
    unclear = {"by_method", "by_function", "by_closure"}
    assert {name: set(KnotPhysics.followers(name)) - unclear for name in "abc"} == {
        "a": {"double", "chain", "branch"},
        "b": {"chain", "branch"},
        "c": {"branch"},
    }
    assert all(unclear < set(KnotPhysics.followers(name)) for name in "abc")


_CHANGES = st.dictionaries(st.sampled_from("abc"), st.sampled_from([0.0, 1.5, 3.0, 4.5, 9.0]), min_size=1)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), _CHANGES), max_size=8))
@settings(derandomize=True, max_examples=100, deadline=None)
def test_however_it_moved_it_is_what_it_would_be_if_built_so(steps: list[tuple[bool, bool, dict[str, float]]]) -> None:
    """By `move` or `set_physics`, looked at in between or not; physics that were looked at stay as they were."""
    knot, now, seen = Knot(), {"a": 1.0, "b": 2.0, "c": 3.0}, []
    for one_by_one, look, changes in steps:
        if one_by_one:
            for name, value in changes.items():
                knot.move(name, value)
        else:
            knot.set_physics(**changes)
        now |= changes
        built = KnotPhysics(**now)
        expected = {one: getattr(built, one) for one in (*built.names(), *built.derived())}
        expected |= {"B": built.b, "c": built.chain}
        assert {one: getattr(knot, one) for one in expected} == expected
        if look:
            seen.append((knot.physics, dict(now)))
    for physics, then in seen:
        assert {name: getattr(physics, name) for name in then} == then


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_move_alone(duplicate: Any) -> None:
    """Neither the copy moves the original nor the other way round, though physics may be shared at first."""
    knot: Any = Knot()
    knot.move("a", 5.0)
    other = duplicate(knot)
    knot.move("a", 6.0)
    other.move("b", 8.0)
    assert (knot.physics.a, knot.physics.b, knot.chain) == (6.0, 2.0, 14.0)
    assert (other.physics.a, other.physics.b, other.chain, other.B) == (5.0, 8.0, 18.0, 8.0)


@pytest.mark.parametrize("wrong", [-0.1, 9.1, float("nan"), float("inf"), 10, np.array([1.0, 99.0])])
def test_move_refuses_what_set_physics_refuses(wrong: Any) -> None:
    """With the same words, and nothing has moved."""
    knot: Any = Knot()
    knot.move("a", 5.0)
    for move in (lambda: knot.move("a", wrong), lambda: knot.set_physics(b=4.0, a=wrong)):
        with pytest.raises(ValueError, match=r"^a=.* is outside"):
            move()
    assert (knot.physics.a, knot.a, knot.B, knot.double) == (5.0, 5.0, 2.0, 10.0)
    pipe: Any = Pipe()
    with pytest.raises(ValueError, match=r"bends=1\.5 must be a whole number"):
        pipe.move("bends", 1.5)
    pipe.move("bends", 2.0)
    assert (pipe.bends, type(pipe.bends)) == (2, int)


def test_a_class_with_its_own_set_physics_is_moved_by_it() -> None:
    """Also if it has it from a class beside it in line; one with a newer `move` is moved by that."""
    told: list[Any] = []

    class Loud(Pipe):
        def set_physics(self, **changes: Any) -> None:
            told.append(changes)
            super().set_physics(**changes)

    class Aside:
        def set_physics(self, **changes: Any) -> None:
            told.append(changes)

    class Beside(Aside, Pipe):  # type: ignore[misc]  # that is the point
        pass

    class Quick(Loud):
        def move(self, name: str, value: Any) -> None:
            told.append(name)

    for pipe in (Loud(), Beside(), Quick(), Pipe()):
        pipe.move("width", 3.0)
    assert told == [{"width": 3.0}, {"width": 3.0}, "width"]


def test_subclasses_hear_of_every_move() -> None:
    """`_write_physics` is called, once, with all attributes in place."""
    heard: list[Any] = []

    class Listening(Pipe):
        def _write_physics(self) -> None:
            super()._write_physics()
            heard.append((self.width, self.bends, self.area))

    pipe = Listening()
    pipe.move("width", 3.0)
    pipe.set_physics(width=4.0, bends=2)
    assert heard == [(2.0, 1, 4.0), (3.0, 1, 9.0), (4.0, 2, 16.0)]
