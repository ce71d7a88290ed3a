"""Schedules as plain data and back, and their seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from lopgym.declared import fits
from lopgym.registry import Entry, nearest
from lopgym.schedules.base import Schedule, schedules
from lopgym.schedules.lists import Constant
from lopgym.seeding import derive


def seeded(schedule: Schedule, seed: int) -> Schedule:
    """Give a random schedule its seed, unless it came with one, and those inside it one of their own each.

    A schedule that needs none is returned as it is.
    """
    if not dataclasses.is_dataclass(schedule):
        return schedule
    changes: dict[str, Any] = {"seed": seed} if getattr(schedule, "seed", 0) is None else {}
    for name, value in _options(schedule).items():
        inner = _inside(value, lambda one, *place: seeded(one, derive(seed, *place)), name)
        changes |= {} if inner is value else {name: inner}
    return cast(Schedule, dataclasses.replace(cast(Any, schedule), **changes)) if changes else schedule


def from_plain(data: Schedule | float | Mapping[str, Any]) -> Schedule:
    """Make a schedule of plain data: a number, or `{"kind": "cycle", "values": [9.8, 20.0], "period": 50_000}`.

    Raises:
        ValueError: it is none, no such kind, or an option missing, unknown, of the wrong type or out of range.
    """
    if isinstance(data, int | float | np.number):
        return Constant(value=data)
    if isinstance(data, Mapping):
        options = {name: value for name, value in data.items() if name != "kind"}
        entry = _entry(data.get("kind"))
        _check_names(entry, options)
        return entry.make(**options)
    if not _is_schedule(data):
        wanted = "give a number, a Schedule, or a mapping with its `kind`"
        raise ValueError(f"{data!r} is no schedule: {'wrap it in Call(function=...)' if callable(data) else wanted}")
    return data


def _entry(kind: Any) -> Entry[Schedule]:
    kinds = {entry.name: entry for entry in schedules}
    if kind is None:
        raise ValueError(f"a schedule needs its `kind`; {nearest('', kinds)}")
    if str(kind) not in kinds:
        raise ValueError(f"no schedule of kind {kind!r}; {nearest(str(kind), kinds)}")
    return kinds[str(kind)]


def _check_names(entry: Entry[Schedule], options: Mapping[str, Any]) -> None:
    for option in options.keys() - entry.options.keys():
        raise ValueError(f"schedule {entry.name!r} has no option {option!r}; {nearest(option, entry.options)}")
    for option, declared in entry.options.items():
        if option not in options and declared.default is declared.empty:
            raise ValueError(f"schedule {entry.name!r} needs the option {option!r}")


def to_plain(schedule: Schedule | float | Mapping[str, Any]) -> dict[str, Any]:
    """Say a schedule in plain data (JSON, YAML), so that `from_plain` makes an equal one.

    Raises:
        ValueError: it is of no registered kind, such as a Python function.
    """
    schedule = from_plain(schedule)
    names = {entry.make: entry.name for entry in schedules}
    if type(schedule) not in names:
        remedy = "register its class, or write what it does on a tape and play that"
        raise ValueError(f"{schedule!r} is not a registered schedule and cannot be written as plain data: {remedy}")
    options = {name: _inside(value, lambda one, *_: to_plain(one)) for name, value in _options(schedule).items()}
    return {"kind": names[type(schedule)]} | {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}


def _options(schedule: Schedule) -> dict[str, Any]:
    """Return the fields that one gives to make an equal schedule."""
    return {f.name: getattr(schedule, f.name) for f in dataclasses.fields(cast(Any, schedule)) if f.init}


def _inside(value: Any, change: Callable[..., Any], *place: str | int) -> Any:
    """Return the value of an option with `change(schedule, *place)` for each schedule in it; itself if none changes."""
    if isinstance(value, tuple):
        parts = tuple(_inside(one, change, *place, i) for i, one in enumerate(value))
        return parts if any(a is not b for a, b in zip(parts, value, strict=True)) else value
    return change(value, *place) if _is_schedule(value) else value


def _is_schedule(value: Any) -> bool:
    return hasattr(value, "next_change")


def _fit(name: str, value: Any) -> Schedule:
    """Make the value of an option that is a schedule itself."""
    try:
        return from_plain(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


fits(Schedule, _fit)
