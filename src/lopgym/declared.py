"""Values that are what annotations say: numbers, words, tuples of them, their bounds, and kinds of one's own."""

from __future__ import annotations

import dataclasses
import operator
import sys
from collections.abc import Callable
from types import EllipsisType, NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
from annotated_types import GroupedMetadata

from lopgym.registry import nearest

Fit = Callable[[str, Any], Any]  # (name of the field or option, what came) -> the value, or ValueError
_MOST = sys.float_info.max  # NaN is not at most that, nor is a whole number that no float can hold


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
                object.__setattr__(self, field.name, fitted(field.name, getattr(self, field.name), hints[field.name]))


def _number(name: str, value: Any) -> int | float:
    value = value.item() if isinstance(value, np.number) else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MOST:
        raise ValueError(f"{name}={value!r} must be a number")
    return value


def _whole(name: str, value: Any) -> int:
    value = value.item() if isinstance(value, np.number) else value
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise ValueError(f"{name}={value!r} must be a whole number")
    return int(value)


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}={value!r} must be True or False")
    return bool(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name}={value!r} must be text")
    return value


_FITS: dict[Any, Fit] = {float: _number, int: _whole, bool: _truth, str: _text}


def fits(hint: Any, fit: Fit) -> None:
    """Let values be declared as `hint`: `fit` makes of (name, what came) the value, or refuses it."""
    _FITS[hint] = fit


def fitted(name: str, value: Any, hint: Any) -> Any:
    """Return `value` as what `hint` says: a declared kind, a tuple of it, either with bounds or None, or a word.

    What comes under any other hint is returned as it is.

    >>> from lopgym.bounds import PositiveInt
    >>> fitted("period", 5e4, PositiveInt), fitted("period", None, PositiveInt | None)
    (50000, None)

    Raises:
        ValueError: it is of another type or out of bounds; the message has `name` and what came.
    """
    form, inner = get_origin(hint), get_args(hint)
    if NoneType in inner:
        others = [one for one in inner if one is not NoneType]
        return value if value is None or len(others) > 1 else fitted(name, value, others[0])
    if form is Literal:
        return _word(name, value, inner)
    if form is tuple and isinstance(inner[-1], EllipsisType):
        return _each(name, value, inner[0])
    if form is Annotated:
        return _bounded(name, fitted(name, value, inner[0]), inner[1:])
    return _FITS[hint](name, value) if hint in _FITS else value


def _each(name: str, values: Any, hint: Any) -> tuple[Any, ...]:
    if not isinstance(values, list | tuple | np.ndarray):
        raise ValueError(f"{name}={values!r} must be a list")
    return tuple(fitted(name, one, hint) for one in values)


def _bounded(name: str, value: Any, bounds: tuple[Any, ...]) -> Any:
    for bound in bounds:
        for part in bound if isinstance(bound, GroupedMetadata) else [bound]:
            _hold(name, value, part)
    return value


def _word(name: str, value: Any, words: tuple[str, ...]) -> Any:
    if value not in words:
        raise ValueError(f"{name}={value!r} is not allowed; {nearest(str(value), words)}")
    return value


def hold_words(thing: Any) -> None:
    """Refuse a dataclass one of whose options is none of the words that its `Literal` has; other options pass.

    Raises:
        ValueError: the message has the option, what came and what was probably meant.
    """
    hints = get_type_hints(type(thing), include_extras=True)
    for option in dataclasses.fields(thing):
        hint = hints[option.name]
        if option.init and any(get_origin(form) is Literal for form in (hint, *get_args(hint))):
            fitted(option.name, getattr(thing, option.name), hint)


_BOUNDS = {"gt": (">", operator.gt), "ge": (">=", operator.ge), "lt": ("<", operator.lt), "le": ("<=", operator.le)}


def _hold(name: str, value: Any, bound: Any) -> None:
    least = getattr(bound, "min_length", 0)
    if least and len(value) < least:
        raise ValueError(f"{name}={value!r} must have at least {least} value{'s' * (least > 1)}")
    for key, (sign, holds) in _BOUNDS.items():
        if hasattr(bound, key) and not holds(value, getattr(bound, key)):
            raise ValueError(f"{name}={value!r} must be {sign} {getattr(bound, key)}")
