"""JSON as checkpoints hold it: ASCII, one way to write a thing, and numbers short enough to be read at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

Number = TypeVar("Number", int, float)

MOST = 2**19  # values: what is built of them takes up to 40 times the room of the text, and a second
_DIGITS = 25  # the longest number that is ever written is a float's: sign, 17 digits, point, exponent


def dumps(node: Any, indent: int | None = None) -> bytes:
    """Return `node` as JSON; the same node gives the same bytes.

    Raises:
        ValueError: it has too many values.
    """
    separators = (",", ":") if indent is None else None
    return _counted(json.dumps(node, allow_nan=False, indent=indent, separators=separators).encode("ascii"))


def loads(data: bytes) -> Any:
    """Return what `dumps` was given.

    Raises:
        ValueError: it is no JSON of ours: other characters, a key twice, NaN, too many values or digits.
        RecursionError: it is nested deeper than Python's stack.
    """
    return json.loads(
        _counted(data).decode("ascii"),
        object_pairs_hook=_once,
        parse_int=_short(int),
        parse_float=_short(float),
        parse_constant=_refuse,
    )


def _counted(data: bytes) -> bytes:
    """Refuse too many values before one is built: every value but the outermost follows one of these characters."""
    if (most := sum(map(data.count, (b",", b"[", b"{")))) > MOST:
        raise ValueError(f"about {most} values in JSON, at most {MOST} are allowed; numbers belong into arrays")
    return data


def _short(number: Callable[[str], Number]) -> Callable[[str], Number]:
    def parse(digits: str) -> Number:
        if len(digits) > _DIGITS:  # converting takes time that grows with the square of the length
            raise ValueError(f"a number of {len(digits)} digits; at most {_DIGITS}")
        return number(digits)

    return parse


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found
