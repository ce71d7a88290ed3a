"""Parameters that drift: bounds, whole numbers, derived quantities, plain attributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

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
