"""What an id can be told: its options, of the types and within the bounds that its constructor declares."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from lopgym.bounds import NonNegativeInt
from lopgym.declared import fitted
from lopgym.registry import Entry, nearest


def as_world_seed(world_seed: Any) -> int:
    """Return a seed of a world.

    Raises:
        ValueError: it is no whole number of at least 0.
    """
    seed: int = fitted("world_seed", world_seed, NonNegativeInt)
    return seed


def check_mappings(**by_parameter: Any) -> None:
    """Raise ValueError unless what came under each name says something of parameters, or is None."""
    for name, given in by_parameter.items():
        if not isinstance(given, Mapping | None):
            raise ValueError(f"{name}={given!r} must be a mapping from parameters, such as {{'gravity': ...}}")


def checked_options(entry: Entry[Any], options: Mapping[str, Any], builder: Callable[..., Any]) -> dict[str, Any]:
    """Return the options of a world as its constructor declares them, 8.0 where it wants a whole number as 8.

    Args:
        entry: the world.
        options: what came.
        builder: who asks; its own keyword arguments can have been meant, too.

    Raises:
        TypeError: an option that neither takes; the message offers the nearest.
        ValueError: a value of another type or out of bounds.
    """
    for option in options.keys() - entry.options.keys():
        known = {*entry.options, *_keywords(builder)}
        raise TypeError(
            f"environment {entry.name!r} got an unexpected keyword argument {option!r}; {nearest(option, known)}"
        )
    hints = _hints(entry.make)
    try:
        return {option: fitted(option, value, hints.get(option)) for option, value in options.items()}
    except ValueError as error:
        raise ValueError(f"environment {entry.name!r}: {error}") from None


def check_render_mode(entry: Entry[Any], mode: str | None) -> None:
    """Raise ValueError unless a single environment of a world can be rendered so; a window is there for every world."""
    made: Any = entry.make
    known = {"human", *made.metadata["render_modes"]}
    if mode is not None and mode not in known:
        raise ValueError(f"render_mode={mode!r} is not allowed for {entry.name!r}; {nearest(str(mode), known)}")


def _keywords(builder: Callable[..., Any]) -> list[str]:
    return [p.name for p in inspect.signature(builder).parameters.values() if p.kind is p.KEYWORD_ONLY]


def _hints(make: Any) -> dict[str, Any]:
    return get_type_hints(make.__init__ if inspect.isclass(make) else make, include_extras=True)
