"""Listing: what there is to choose from, as rows of plain data and as text."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lopgym.registry import Entry, nearest

Row = dict[str, Any]
_PACKAGE_HEADER = "# @package _global_"


def rows(kind: str) -> list[Row]:
    """Return what `lopgym list KIND` shows, one dict a thing.

    Raises:
        ValueError: there is no such list.
    """
    if kind not in LISTS:
        raise ValueError(f"there is no list of {kind!r}; {nearest(kind, LISTS)}")
    return LISTS[kind]()


def text(table: Sequence[Row], width: int | None = None) -> str:
    """Lay rows out in columns; a list inside a row follows it, one indented line an element.

    Args:
        table: the rows.
        width: of the screen; what does not fit there stands below its name instead. None: all fits.
    """
    flat = [{key: str(value) for key, value in row.items() if not isinstance(value, list)} for row in table]
    widths = {key: max(len(row[key]) for row in flat) for key in (flat[0] if flat else ())}
    heads = [["  ".join(cell.ljust(widths[key]) for key, cell in cells.items()).rstrip()] for cells in flat]
    if width is not None and any(len(line) > width for [line] in heads):
        heads = [_stacked(cells, width) for cells in flat]
    lines = []
    for row, head in zip(table, heads, strict=True):
        lines += head
        lines += [f"    {_sentence(part)}" for value in row.values() if isinstance(value, list) for part in value]
    return "\n".join(lines)


def _stacked(cells: Mapping[str, str], width: int) -> list[str]:
    """Write the first cell, and the others below it, wrapped."""
    name, *others = cells.values()
    wrapped = (line for cell in others for line in textwrap.wrap(cell, max(width - 4, 16)))
    return [name, *(f"    {line}" for line in wrapped)]


def _sentence(parameter: Mapping[str, Any]) -> str:
    if parameter["unit"] == "index":
        return f"{parameter['name']}: {parameter['doc']} (index)"
    unit = "" if parameter["unit"] == "1" else f" {parameter['unit']}"
    low, default, high = (f"{parameter[key]:.4g}" for key in ("low", "default", "high"))
    return f"{parameter['name']}: {parameter['doc']}, {default} in [{low}, {high}]{unit}"


def _envs() -> list[Row]:
    from lopgym.envs import environments

    return [_env(entry) for entry in environments]


def _env(entry: Entry[Any]) -> Row:
    from gymnasium.error import DependencyNotInstalled

    from lopgym.envs.build import single
    from lopgym.envs.layers import stack
    from lopgym.physics import Parametric

    make: Any = entry.make
    try:
        world = single(entry.name)
    except DependencyNotInstalled as error:
        spaces = [f"needs lopgym[{make.extra}]" if hasattr(make, "extra") else str(error)] * 2
        types = [make.physics_type]
    else:
        spaces = [_space(world.observation_space), _space(world.action_space)]
        types = [type(layer.physics) for layer in stack(world) if isinstance(layer, Parametric)]
        world.close()
    return {
        "name": entry.name,
        "id": f"lopgym/{entry.facts['id']}",
        "observations": spaces[0],
        "actions": spaces[1],
        "summary": entry.summary,
        "parameters": [parameter for one in types for parameter in _parameters(one)],
    }


def _space(space: Any) -> str:
    """Say a space in few words; the bounds of a Box can be long."""
    return f"Box{space.shape}" if type(space).__name__ == "Box" else str(space)


def _parameters(physics: Any) -> Iterator[Row]:
    for field in dataclasses.fields(physics):
        yield {"name": field.name, "default": field.default, **field.metadata}


def _schedules() -> list[Row]:
    from lopgym.schedules import schedules

    return [{"name": e.name, "takes": _signature(e), "summary": e.summary} for e in schedules]


def _signature(entry: Entry[Any]) -> str:
    options = entry.options.values()
    return ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default}" for p in options)


def _probes() -> list[Row]:
    from lopgym.probes import probes

    return [
        {"name": e.name, "bounds": str(list(e.facts["bounds"])), "summary": e.summary, "cite": e.facts.get("cite", "")}
        for e in probes
    ]


def _mitigations() -> list[Row]:
    from lopgym.agents.mitigations import mitigations

    return [
        {"name": e.name, "seams": ", ".join(_seams(e)), "summary": e.summary, "cite": e.facts.get("cite", "")}
        for e in mitigations
    ]


def _seams(entry: Entry[Any]) -> tuple[str, ...]:
    seams: Callable[[], tuple[str, ...]] = getattr(entry.make, "seams", tuple)
    return seams()


def _triggers() -> list[Row]:
    from lopgym.agents.triggers import triggers

    return [{"name": e.name, "takes": _signature(e), "summary": e.summary} for e in triggers]


def _detectors() -> list[Row]:
    from lopgym.agents.detectors import detectors

    return [{"name": e.name, "takes": _signature(e), "summary": e.summary} for e in detectors]


def _agents() -> list[Row]:
    from lopgym.agents import agents

    return [{"name": e.name, "summary": e.summary} for e in agents]


def _studies() -> list[Row]:
    folder = Path(__file__).parents[1] / "configs" / "study"
    return [{"name": path.stem, "question": question(path)} for path in sorted(folder.glob("*.yaml"))]


def question(path: Path) -> str:
    """Return the comment at the head of a study's file, below the line for Hydra."""
    words = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        if line != _PACKAGE_HEADER:
            words.append(line.lstrip("# "))
    return " ".join(words)


LISTS: dict[str, Callable[[], list[Row]]] = {
    "envs": _envs,
    "schedules": _schedules,
    "probes": _probes,
    "mitigations": _mitigations,
    "triggers": _triggers,
    "detectors": _detectors,
    "studies": _studies,
    "agents": _agents,
}
