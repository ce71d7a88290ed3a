"""Foreign packages that the ids of worlds would bring in."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lopgym.studies.config import Config, CustomEnv
from lopgym.studies.faults import Fault


def imports(config: Config, allowed: Collection[str] | None) -> Iterator[Fault]:
    """Find packages that the ids of worlds would import: that runs code, and only those allowed by hand may."""
    for option, name in _ids(config):
        if said := refusal(name, allowed):
            yield ("env", option), said


def refusal(id: str, allowed: Collection[str] | None) -> str:
    """Say what the id of a world would import that is not allowed; "" if it would not.

    >>> refusal("theirs.worlds:Maze-v0", ())
    'theirs.worlds:Maze-v0 would import theirs; allow it with --allow-import theirs'
    """
    module, colon, _ = id.partition(":")
    package = module.partition(".")[0]
    held = colon and allowed is not None and package not in {"gymnasium", "lopgym", *allowed}
    return f"{id} would import {package}; allow it with --allow-import {package}" if held else ""


def _ids(config: Config) -> Iterator[tuple[str, str]]:
    """Yield each id that Gymnasium will be asked for, and the option that says it."""
    if isinstance(config.env, CustomEnv):
        yield "id", config.env.id
    for named in getattr(config.env, "ids", ()):  # of worlds that are made of others
        yield "ids", named if isinstance(named, str) else named[0]
