"""Physics: the numbers of an environment that may drift, declared once, with bounds and units."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lopgym.registry import nearest

Value = float | int | NDArray[Any]  # one for all copies, or one a copy, shape (N,)


def param(default: float, *, low: float, high: float, unit: str, doc: str) -> Any:
    """Declare one parameter of a frozen `Physics` dataclass.

    Args:
        default: value in the undrifted world. An `int` field (an index, a count) takes whole numbers only.
        low: least value allowed, itself included.
        high: greatest value allowed, itself included.
        unit: physical unit, `1` for a ratio, `index` for a number that names one of many variants.
        doc: what it is, in a few words.
    """
    return dataclasses.field(default=default, metadata={"low": low, "high": high, "unit": unit, "doc": doc})


@dataclasses.dataclass(frozen=True, eq=False)
class Physics:
    """Base of every physics dataclass. Derived quantities are its properties, so they cannot go stale.

    Raises:
        ValueError: a value is out of its bounds, not finite, or not whole where an index is wanted.
    """

    def __post_init__(self) -> None:
        """Check every value against its declaration; whole numbers given as floats become ints."""
        for name in self.names():
            object.__setattr__(self, name, self.checked(name, getattr(self, name)))

    @classmethod
    @cache
    def names(cls) -> tuple[str, ...]:
        """Names of the parameters, in order of declaration."""
        return tuple(f.name for f in dataclasses.fields(cls))

    @classmethod
    @cache
    def derived(cls) -> tuple[str, ...]:
        """Names of the quantities computed from the parameters."""
        return tuple(name for name in dir(cls) if isinstance(getattr(cls, name), property))

    @classmethod
    def checked(cls, name: str, value: Value) -> Value:
        """Return a value of the parameter `name` as it is kept, a float that names an index as an int.

        Raises:
            ValueError: it is not allowed; the message names the parameter.
        """
        low, high, unit, whole = cls._declared()[name]
        if isinstance(value, float) and not whole and low <= value <= high:  # every step of a smooth drift
            return value
        values = np.asarray(value)
        if not np.all((values >= low) & (values <= high)):
            raise ValueError(f"{name}={value} is outside [{low}, {high}] {unit}")
        if not whole:
            return value
        if not np.all(values == np.floor(values)):
            raise ValueError(f"{name}={value} must be a whole number")
        return values.astype(np.int64) if values.ndim else int(values)

    def moved(self, **changes: Value) -> Self:
        """Return these physics with other values of some parameters; only what changes is checked.

        Raises:
            ValueError: a value is not allowed.
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, **{name: self.checked(name, value) for name, value in changes.items()})
        return other

    @classmethod
    @cache
    def _declared(cls) -> dict[str, tuple[float, float, str, bool]]:
        """Return parameter -> lowest value, highest value, unit, whether only whole numbers are allowed."""
        fields = {f.name: (f.metadata, f.type in (int, "int")) for f in dataclasses.fields(cls)}
        return {name: (m["low"], m["high"], m["unit"], whole) for name, (m, whole) in fields.items()}


class Parametric:
    """An environment, or a wrapper, some of whose numbers can drift."""

    physics: Physics
    physics_type: ClassVar[type[Physics]]

    def set_physics(self, **changes: Value) -> None:
        """Replace some parameters, then write parameters and derived quantities as plain attributes.

        Plain attributes keep `step` as fast as if nothing could drift.

        Raises:
            TypeError: an unknown name; the message offers the nearest.
            ValueError: a value out of bounds; nothing has been changed then.
        """
        known = self.physics.names()
        for name in changes:
            if name not in known:
                raise TypeError(f"{type(self).__name__} has no parameter {name!r}; {nearest(name, known)}")
        self.physics = self.physics.moved(**changes)
        self._write_physics()

    def _write_physics(self) -> None:
        for name in (*self.physics.names(), *self.physics.derived()):
            setattr(self, name, getattr(self.physics, name))
