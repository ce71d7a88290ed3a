"""What each mitigation promises, as a table."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any

from cells import cite, link, listed, table

from lopgym.agents.mitigations import Mitigation
from lopgym.agents.promises import Promises
from lopgym.agents.stacking import REFUSED
from lopgym.registry import Entry


def facts(entry: Entry[Any]) -> str:
    """Return the table of what a mitigation promises, which tests and `lopgym train --check` hold it to."""
    promises: Promises = entry.facts["promises"]
    others = {b: why for pair, why in REFUSED.items() if entry.name in pair for b in pair - {entry.name}}
    rows = [
        ("source", cite(entry)),
        ("acts at", listed(seams(entry.make))),
        ("preserves the function", promises.function),
        ("changes", "; ".join(_touched(promises)) or "nothing once the network is built"),
        ("the target", "is made equal to the network" if promises.synchronises else _target(promises)),
        ("does not go with", "; ".join(f"{link(name)}: {why}" for name, why in sorted(others.items())) or "-"),
    ]
    return table(("what it promises", ""), rows)


def _target(promises: Promises) -> str:
    return "changes as said above" if "target" in promises.touches else "follows at its own pace"


def _touched(promises: Promises) -> Iterator[str]:
    """Yield each part that is touched, with the option values at which it is not."""
    for part in promises.touches:
        spared = [f"`{k}={json.dumps(v)}`" for k, values in promises.unless.get(part, {}).items() for v in values]
        yield f"{part} (not at {' or '.join(spared)})" if spared else part


def seams(make: Callable[..., Mitigation]) -> tuple[str, ...]:
    """Return the seams that a mitigation overrides."""
    assert inspect.isclass(make)
    assert issubclass(make, Mitigation)
    return make.seams()
