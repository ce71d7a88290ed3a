"""What is wrong with a drift can be said before anything moves: values that it names and its owner refuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from lopgym.envs.own_clocks import Clocks
from lopgym.physics import Parametric, Physics
from lopgym.schedules import Schedule

_PIECES = 1000  # of one schedule that are looked at: a recorded series can have millions


def check_known_values(owners: Mapping[str, Parametric], schedules: Mapping[str, Schedule], clocks: Clocks) -> None:
    """Try the values that schedules name, and how far they go, on the owners of the parameters; nothing is changed.

    A schedule names values by `value` or `values`, and says how far it goes by `extremes`, which only the life, a clock
    without end, is sure to come to.

    Raises:
        ValueError: a value is out of bounds; the message says of what, and when it would have come if that is known.
    """
    for name, schedule in schedules.items():
        physics, clock = owners[name].physics, clocks.get(name, "life")
        for k, value in _named_values(schedule):
            _try(physics, name, value, f"at {'step' if clock == 'life' else clock} {k}")
        for value in getattr(schedule, "extremes", ()) if clock == "life" else ():
            _try(physics, name, value, "sooner or later")


def _try(physics: Physics, name: str, value: float, when: str) -> None:
    try:
        physics.checked(name, value)
    except ValueError as error:
        raise ValueError(f"{when}: {error}") from None


def _named_values(schedule: Schedule) -> Iterator[tuple[int, float]]:
    """Yield (first step, value) of as many pieces as the schedule names values, each value once."""
    named = len(getattr(schedule, "values", "-"))  # one piece of a schedule that names one value, or none
    seen = set()
    for k in islice(_pieces(schedule), min(named, _PIECES)):
        if (value := float(schedule(k))) not in seen:
            seen.add(value)
            yield k, value


def _pieces(schedule: Schedule) -> Iterator[int]:
    k: int | None = 0
    while k is not None:
        yield k
        k = schedule.next_change(k)
