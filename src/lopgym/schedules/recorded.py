"""Recorded values: what was measured elsewhere, or written on a tape."""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from lopgym.bounds import PositiveInt
from lopgym.declared import Declared
from lopgym.registry import nearest
from lopgym.schedules.base import schedules
from lopgym.schedules.lists import Values

Between = Literal["hold", "linear"]


@schedules.register("series")
@dataclass(frozen=True, kw_only=True)
class Series(Declared):
    """Follow recorded `values`, one every `period` steps, held or joined by lines (`between`); then stay or repeat.

    Held, the value is v_k, k = t // period; joined, v_k + (v_{k+1} - v_k)(t / period - k). After the last value it
    stays, or the series begins again (`after`).

    >>> [Series(values=(0.0, 4.0, 2.0), period=2, between="linear")(t) for t in (0, 1, 2, 3, 9)]
    [0.0, 2.0, 4.0, 3.0, 2.0]
    >>> [Series(values=(0.0, 4.0, 2.0), period=2, after="repeat")(t) for t in (0, 1, 2, 6)]
    [0.0, 0.0, 4.0, 0.0]
    """

    values: Values
    period: PositiveInt
    between: Between = "hold"
    after: Literal["stay", "repeat"] = "stay"

    @property
    def smooth(self) -> bool:
        """Whether the values are joined by lines."""
        return self.between == "linear"

    def __call__(self, t: int) -> float:
        """Return the value of step t, or the point on the line to the next."""
        k, within = divmod(t, self.period)
        here, there = self._value(k), self._value(k + 1)
        return here + (there - here) * within / self.period if self.smooth else here

    def next_change(self, t: int) -> int | None:
        """Return the step of the next value; None if the values are joined, or the last was reached."""
        k = t // self.period + 1
        ended = self.after == "stay" and k >= len(self.values)
        return None if self.smooth or ended or len(self.values) == 1 else k * self.period

    def _value(self, k: int) -> float:
        return self.values[k % len(self.values) if self.after == "repeat" else min(k, len(self.values) - 1)]


@schedules.register("tape")
@dataclass(frozen=True, kw_only=True)
class Tape(Declared):
    r"""Play back what happened to a parameter, as a tape tells it.

    A tape is a file of lines of JSON, `{"step": 500, "parameter": "gravity", "value": 20.0}`: from that step on the
    parameter has that value. Before its first line it has the first value. With `between="linear"` the values are
    joined by straight lines and nothing is a task change: so one plays a parameter that moved all the time.

    The tape is read once, when the schedule is made.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
    ...     _ = file.write('{"step": 0, "parameter": "gravity", "value": 9.8}\n')
    ...     _ = file.write('{"step": 500, "parameter": "gravity", "value": 20.0}\n')
    ...     file.flush()
    ...     played = Tape(path=file.name, parameter="gravity")
    >>> played(499), played(500), played.next_change(0)
    (9.8, 20.0, 500)
    """

    path: str
    parameter: str
    between: Between = "hold"
    _steps: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _values: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Read the tape."""
        super().__post_init__()
        steps, values = _played(self.path, self.parameter)
        object.__setattr__(self, "_steps", steps)
        object.__setattr__(self, "_values", values)

    @property
    def smooth(self) -> bool:
        """Whether the values are joined by lines."""
        return self.between == "linear"

    def __call__(self, t: int) -> float:
        """Return the last value told by step t, or the point on the line to the next."""
        if self.smooth:
            return float(np.interp(t, self._steps, self._values))
        return self._values[max(bisect_right(self._steps, t) - 1, 0)]

    def next_change(self, t: int) -> int | None:
        """Return the step of the next line that tells another value; None if the values are joined."""
        if self.smooth:
            return None
        here, place = self(t), bisect_right(self._steps, t)
        told = zip(self._steps[place:], self._values[place:], strict=True)
        return next((step for step, value in told if value != here), None)


def _played(path: str, parameter: str) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the steps and values that a tape tells of a parameter."""
    changes = read_tape(path)
    told = [(change.step, change.value) for change in changes if change.parameter == parameter]
    if not told:
        known = {change.parameter for change in changes}
        raise ValueError(f"tape: {path} tells nothing of {parameter!r}; {nearest(parameter, known)}")
    steps, values = zip(*told, strict=True)
    if any(b <= a for a, b in pairwise(steps)):
        raise ValueError(f"tape: {path} does not go forwards: the steps of {parameter!r} must rise")
    return steps, values


class Change(NamedTuple):
    """One line of a tape."""

    step: int
    parameter: str
    value: float


def read_tape(path: str | Path) -> list[Change]:
    """Read a tape.

    Raises:
        ValueError: the file cannot be read, or a line is none of a tape; the message has its number.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"tape: cannot read {path}: {error.strerror}") from None
    return [_line(path, number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _line(path: str | Path, number: int, line: str) -> Change:
    try:
        told: dict[str, Any] = json.loads(line, parse_constant=_refused)
        return Change(int(told["step"]), str(told["parameter"]), float(told["value"]))
    except (ValueError, KeyError, TypeError):
        form = '{"step": 0, "parameter": "gravity", "value": 9.8}'
        raise ValueError(f"tape: line {number} of {path} is not of the form {form}") from None


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no value of a parameter")  # JSON has no such number, Python's reader does
