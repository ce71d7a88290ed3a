"""Fields that are what their annotations say: numbers, tuples of numbers, and their bounds."""

from __future__ import annotations

from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from annotated_types import Ge, Gt, MinLen


class Declared:
    """Base of a frozen dataclass of numbers: its fields are what they were declared, whoever makes it."""

    def __post_init__(self) -> None:
        """Make every field what it was declared, 5e4 the whole number 50000, or refuse it.

        Raises:
            ValueError: a value of another type or out of bounds; the message names the field.
        """
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            object.__setattr__(self, name, _fitted(name, getattr(self, name), hint))


def _fitted(name: str, value: Any, hint: Any) -> Any:
    """Return `value` as the type `hint` (a number, a tuple of numbers, or either with bounds or None)."""
    inner = get_args(hint)
    if type(None) in inner and value is None:
        return None
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple | np.ndarray):
            raise ValueError(f"{name}={value!r} must be a list of numbers")
        return tuple(_fitted(name, one, inner[0]) for one in value)
    if not inner:
        return _number(name, value, whole=hint is int)
    fitted = _fitted(name, value, inner[0])
    for bound in getattr(hint, "__metadata__", ()):
        _hold(name, fitted, bound)
    return fitted


def _number(name: str, value: Any, *, whole: bool) -> int | float:
    value = value.item() if isinstance(value, np.number) else value
    if isinstance(value, bool) or not isinstance(value, int | float) or (whole and not float(value).is_integer()):
        raise ValueError(f"{name}={value!r} must be a {'whole ' if whole else ''}number")
    return int(value) if whole else value


def _hold(name: str, value: Any, bound: Any) -> None:
    if isinstance(bound, MinLen) and len(value) < bound.min_length:
        raise ValueError(f"{name}={value!r} must have at least {bound.min_length} value")
    if isinstance(bound, Gt) and not value > bound.gt:
        raise ValueError(f"{name}={value!r} must be > {bound.gt}")
    if isinstance(bound, Ge) and not value >= bound.ge:
        raise ValueError(f"{name}={value!r} must be >= {bound.ge}")
