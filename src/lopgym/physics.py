"""Physics: the numbers of an environment that may drift, declared once, with bounds and units."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

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
        for f in dataclasses.fields(self):
            value, low, high = np.asarray(getattr(self, f.name)), f.metadata["low"], f.metadata["high"]
            if not np.all((value >= low) & (value <= high)):
                raise ValueError(f"{f.name}={getattr(self, f.name)} is outside [{low}, {high}] {f.metadata['unit']}")
            if f.type in (int, "int"):
                if not np.all(value == np.floor(value)):
                    raise ValueError(f"{f.name}={getattr(self, f.name)} must be a whole number")
                whole = value.astype(np.int64) if value.ndim else int(value)
                object.__setattr__(self, f.name, whole)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the parameters, in order of declaration."""
        return tuple(f.name for f in dataclasses.fields(cls))

    @classmethod
    def derived(cls) -> tuple[str, ...]:
        """Names of the quantities computed from the parameters."""
        return tuple(name for name in dir(cls) if isinstance(getattr(cls, name), property))


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
        self.physics = dataclasses.replace(self.physics, **changes)
        self._write_physics()

    def _write_physics(self) -> None:
        for name in (*self.physics.names(), *self.physics.derived()):
            setattr(self, name, getattr(self.physics, name))
