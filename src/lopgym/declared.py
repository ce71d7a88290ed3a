"""Fields that are what their annotations say: numbers, words, tuples of them, their bounds, and kinds of one's own."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
from annotated_types import GroupedMetadata

from lopgym.registry import nearest

Fit = Callable[[str, Any], Any]  # (name of the field, what came) -> the value, or ValueError


class Declared:
    """Base of a frozen dataclass of plain values: its fields are what they were declared, whoever makes it."""

    def __post_init__(self) -> None:
        """Make every field what it was declared, 5e4 the whole number 50000, or refuse it.

        Raises:
            ValueError: a value of another type or out of bounds; the message names the field.
        """
        hints = get_type_hints(type(self), include_extras=True)
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            if field.init:
                object.__setattr__(self, field.name, _fitted(field.name, getattr(self, field.name), hints[field.name]))


def _number(name: str, value: Any) -> int | float:
    value = value.item() if isinstance(value, np.number) else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}={value!r} must be a number")
    return value


def _whole(name: str, value: Any) -> int:
    value = value.item() if isinstance(value, np.number) else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        raise ValueError(f"{name}={value!r} must be a whole number")
    return int(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name}={value!r} must be text")
    return value


_FITS: dict[Any, Fit] = {float: _number, int: _whole, str: _text}


def fits(hint: Any, fit: Fit) -> None:
    """Let fields be declared as `hint`: `fit` makes of (name of the field, what came) the value, or refuses it."""
    _FITS[hint] = fit


def _fitted(name: str, value: Any, hint: Any) -> Any:
    """Return `value` as what `hint` says: a declared kind, a tuple of it, either with bounds or None, or a word."""
    inner = get_args(hint)
    if type(None) in inner and value is None:
        return None
    if get_origin(hint) is Literal:
        return _word(name, value, inner)
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple | np.ndarray):
            raise ValueError(f"{name}={value!r} must be a list")
        return tuple(_fitted(name, one, inner[0]) for one in value)
    if not inner:
        return _FITS[hint](name, value)
    fitted = _fitted(name, value, inner[0])
    for bound in getattr(hint, "__metadata__", ()):
        for part in bound if isinstance(bound, GroupedMetadata) else [bound]:
            _hold(name, fitted, part)
    return fitted


def _word(name: str, value: Any, words: tuple[str, ...]) -> Any:
    if value not in words:
        raise ValueError(f"{name}={value!r} is not allowed; {nearest(str(value), words)}")
    return value


_BOUNDS = {"gt": (">", operator.gt), "ge": (">=", operator.ge), "lt": ("<", operator.lt), "le": ("<=", operator.le)}


def _hold(name: str, value: Any, bound: Any) -> None:
    least = getattr(bound, "min_length", 0)
    if least and len(value) < least:
        raise ValueError(f"{name}={value!r} must have at least {least} value{'s' * (least > 1)}")
    for key, (sign, holds) in _BOUNDS.items():
        if hasattr(bound, key) and not holds(value, getattr(bound, key)):
            raise ValueError(f"{name}={value!r} must be {sign} {getattr(bound, key)}")
