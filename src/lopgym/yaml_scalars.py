"""YAML scalars: what stands in a YAML file without quotes, by the core schema of YAML 1.2.

So `3e-4` is a number, `no`, `on`, `1:30` and `2026-01-02` are text. Beyond the schema, digits may be grouped by
underscores, `20_480`, as in Python and on the command line. Numbers that YAML 1.1 reads otherwise, `010`, are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

Scalar = bool | int | float | str | None

LONGEST = 64  # characters of a number


def scalar(text: str) -> Scalar:
    """Read what stands without quotes.

    >>> scalar("3e-4"), scalar("0o17"), scalar("no"), scalar("~")
    (0.0003, 15, 'no', None)
    >>> scalar("010")
    Traceback (most recent call last):
    ValueError: 010: a number with a leading zero; write 10, or 0o10 to the base of eight

    Raises:
        ValueError: a number that people read in different ways, or that does not fit; the message says it in one line.
    """
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > LONGEST:
        return _long(text)
    return next((number(text) for pattern, number in _NUMBERS if pattern.fullmatch(text)), text)


def _long(text: str) -> str:
    """Return text; patterns would take much memory to match much of it."""
    if text.strip(_OF_NUMBERS):
        return text
    raise ValueError(f"a number of {len(text):,} characters; at most {LONGEST}")


def _decimal(text: str) -> int:
    digits = text.lstrip("+-")
    if digits[0] == "0" and len(digits) > 1:
        octal = f", or 0o{int(digits)} to the base of eight" if set(digits) <= set("01234567") else ""
        raise ValueError(f"{text}: a number with a leading zero; write {int(text)}{octal}")
    return int(text)


def _octal(text: str) -> int:
    return int(text, 8)


def _hexadecimal(text: str) -> int:
    return int(text, 16)


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text}: beyond the largest number, 1.8e308; infinity is .inf")
    return value


def _infinity_or_nan(text: str) -> float:
    return float(text.replace(".", ""))


_SPELT: dict[str, bool | None] = {"null": None, "true": True, "false": False}
_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    **{form: value for word, value in _SPELT.items() for form in (word, word.title(), word.upper())},
}
_OF_NUMBERS = "0123456789+-._eE"
_DIGITS = "[0-9](?:_?[0-9])*"
_NUMBERS: tuple[tuple[re.Pattern[str], Callable[[str], int | float]], ...] = (
    (re.compile(rf"[-+]?{_DIGITS}"), _decimal),
    (re.compile(rf"[-+]?(?:\.{_DIGITS}|{_DIGITS}(?:\.(?:{_DIGITS})?)?)(?:[eE][-+]?{_DIGITS})?"), _float),
    (re.compile(r"0o[0-7]+"), _octal),
    (re.compile(r"0x[0-9a-fA-F]+"), _hexadecimal),
    (re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"), _infinity_or_nan),
)
