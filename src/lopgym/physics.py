"""Physics: the numbers of an environment that may drift, declared once, with bounds and units."""

from __future__ import annotations

import dataclasses
import dis
from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise
from math import nan
from operator import attrgetter
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
        for name in self.names():
            value = self.checked(name, changes[name]) if name in changes else getattr(self, name)
            object.__setattr__(other, name, value)
        return other

    @classmethod
    @cache
    def followers(cls, name: str) -> tuple[str, ...]:
        """Names of the quantities that can change when the parameter `name` does."""
        reads = {one: _reads(getattr(cls, one).fget) for one in cls.derived()}
        known = {*cls.names(), *reads}

        def follows(one: str) -> bool:
            return not reads[one] <= known or name in reads[one] or any(map(follows, reads[one] & reads.keys()))

        return tuple(filter(follows, reads))

    @classmethod
    @cache
    def _declared(cls) -> dict[str, tuple[float, float, str, bool]]:
        """Return parameter -> lowest value, highest value, unit, whether only whole numbers are allowed."""
        fields = {f.name: (f.metadata, f.type in (int, "int")) for f in dataclasses.fields(cls)}
        return {name: (m["low"], m["high"], m["unit"], whole) for name, (m, whole) in fields.items()}


class Parametric:
    """An environment, or a wrapper, some of whose numbers can drift."""

    physics_type: ClassVar[type[Physics]]
    other_names: ClassVar[Mapping[str, str]] = {}
    """By attribute, the quantity that it holds, if not that of its own name: how somebody else's `step` calls it."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Let a class whose `set_physics` is newer than its `move` be moved by it."""
        super().__init_subclass__(**options)
        newest = next(vars(one) for one in cls.__mro__ if not {"set_physics", "move"}.isdisjoint(vars(one)))
        if "move" not in newest:
            cls.move = _move_by_set_physics  # type: ignore[method-assign]

    @property
    def physics(self) -> Physics:
        """All parameters as they are now; a change makes other physics, unless nobody has seen these."""
        self._lent = True
        return self._physics

    @physics.setter
    def physics(self, physics: Physics) -> None:
        self._physics, self._lent = physics, True
        self._moves = _moves(type(self), type(physics))  # type: ignore[arg-type]  # classes are hashable
        self._unwritten = tuple(self._moves.writes.values())

    def set_physics(self, **changes: Value) -> None:
        """Replace some parameters, then write parameters and derived quantities as plain attributes.

        Plain attributes keep `step` as fast as if nothing could drift.

        Raises:
            TypeError: an unknown name; the message offers the nearest.
            ValueError: a value out of bounds; nothing has been changed then.
        """
        for name in changes:
            if name not in self._moves:
                raise TypeError(f"{type(self).__name__} has no parameter {name!r}; {nearest(name, self._moves)}")
        self._take({name: self._checked(name, value) for name, value in changes.items()})

    def move(self, name: str, value: Value) -> None:
        """Do what `set_physics` does, of one parameter that there is: for drifts that move at every step.

        Raises:
            ValueError: the value is out of bounds; nothing has been changed then.
        """
        low, high, writes = self._moves[name]
        if self._lent or self._unwritten or type(value) is not float or not low <= value <= high:
            self._take({name: self._checked(name, value)})
            return
        _set(self._physics, name, value)  # nobody else has seen these physics
        self._unwritten = writes
        self._write_physics()

    def __getstate__(self) -> Any:
        """Return the state, which a copy may share."""
        self._lent = True
        return super().__getstate__()

    def _checked(self, name: str, value: Value) -> Value:
        """Return the value of a parameter as it is kept; ValueError if it is not allowed."""
        return self._physics.checked(name, value)

    def _take(self, values: Mapping[str, Value]) -> None:
        if self._lent:
            self._physics, self._lent = self._physics.moved(), False
        for name, value in values.items():
            _set(self._physics, name, value)
        writes = [write for name in values for write in self._moves[name][-1]]
        self._unwritten = tuple(dict.fromkeys((*self._unwritten, *writes)))
        self._write_physics()

    def _write_physics(self) -> None:
        """Write what has changed as plain attributes; what else hangs on it is up to subclasses."""
        physics = self._physics
        for read, attributes in self._unwritten:
            value = read(physics)
            for attribute in attributes:
                setattr(self, attribute, value)
        self._unwritten = ()


_set = object.__setattr__  # on physics, which are frozen for everybody else
Write = tuple[Callable[[Any], Value], tuple[str, ...]]  # how to read a quantity of physics; the attributes that hold it
Move = tuple[float, float, tuple[Write, ...]]  # of a parameter: which floats need no other check; what to write then


class Moves(dict[str, Move]):
    """What it takes to move each parameter of some physics; copies and pickles of it are the thing itself.

    Attributes:
        writes: by quantity, what writes it.
    """

    def __init__(self, owner: type[Parametric], physics: type[Physics]) -> None:
        """Find out."""
        holders = {name: [name] for name in (*physics.names(), *physics.derived()) if name not in owner.other_names}
        for attribute, quantity in owner.other_names.items():
            holders.setdefault(quantity, []).append(attribute)
        self.writes = {one: (_reader(physics, one), tuple(attributes)) for one, attributes in holders.items()}
        self._whose = owner, physics
        for name, (low, high, _, whole) in physics._declared().items():
            writes = tuple(self.writes[one] for one in (name, *physics.followers(name)) if one in holders)
            self[name] = (nan if whole else low, nan if whole else high, writes)  # no float lies between NaNs

    def __reduce__(self) -> Any:
        """Find them again."""
        return _moves, self._whose


@cache
def _moves(owner: type[Parametric], physics: type[Physics]) -> Moves:
    """Return the only ones of these classes."""
    return Moves(owner, physics)


def _reader(physics: type[Physics], quantity: str) -> Callable[[Any], Value]:
    """Return what reads a quantity: of a derived one the function itself, since every step may call it."""
    found = getattr(physics, quantity, None)
    return found.fget if isinstance(found, property) and found.fget else attrgetter(quantity)


def _move_by_set_physics(self: Parametric, name: str, value: Value) -> None:
    """Give one parameter a value, by `set_physics`."""
    self.set_physics(**{name: value})


def _reads(derived: Callable[[Any], Any]) -> frozenset[str]:
    """Return the names of what a derived quantity reads of its physics, in whatever branch; "?" if that is unclear.

    It is clear if its code, wherever it loads the physics, loads an attribute of it next.
    """
    code = getattr(derived, "__code__", None)
    if code is None:
        return frozenset("?")
    me, reads = code.co_varnames[0], set()
    for step, after in pairwise(dis.get_instructions(code)):
        if me in (step.argval if isinstance(step.argval, tuple) else (step.argval,)):
            clear = step.opname in ("LOAD_FAST", "LOAD_FAST_BORROW") and after.opname == "LOAD_ATTR"
            reads.add(after.argval if clear else "?")
    return frozenset(reads)
