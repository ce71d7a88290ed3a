"""Faults of a config, each told in one line: where it stands, which key, what came, what is allowed, what was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

Path = tuple[str, ...]  # of keys, from the top of the config
Fault = tuple[Path, str]  # and what is wrong there

_SAYS_IT_ALL = {"not_given", "unknown_option", "unknown_kind", "no_kind", "refused"}  # these need no "got ..."


class ConfigError(Exception):
    """Everything that is wrong with a config, one line each."""

    exit_code = 2

    def __init__(self, lines: Iterable[str]) -> None:
        """Keep the lines, each once."""
        self.lines = tuple(dict.fromkeys(" ".join(line.split()) for line in lines))
        super().__init__("\n".join(self.lines))


def faults_of(error: ValidationError, data: Any) -> list[Fault]:
    """Return where the faults of `data` are and what they are, the first of each key."""
    found: dict[Path, str] = {}
    for fault in error.errors(include_url=False):
        got = "" if fault["type"] in _SAYS_IT_ALL else f" (got {_short(fault['input'])})"
        path = _keys(fault["loc"], data)
        if fault["type"] == "not_given":
            path = (*path, str(fault["loc"][-1]))
        found.setdefault(path, fault["msg"] + got)
    return [(path, said) for path, said in found.items() if not _inside_another(path, found)]


def _keys(loc: tuple[int | str, ...], data: Any) -> Path:
    """Drop from pydantic's location what is no key of the data: the names of the members of unions."""
    path: list[str] = []
    for step in loc:
        if _holds(data, step):
            path.append(str(step))
            data = data[step]
    return tuple(path)


def _holds(data: Any, step: int | str) -> bool:
    if isinstance(data, Mapping):
        return step in data
    return isinstance(data, list | tuple) and isinstance(step, int) and step < len(data)


def _inside_another(path: Path, found: Iterable[Path]) -> bool:
    """Whether `path` is a whole of which a part is at fault: pydantic then counts the good parts and complains."""
    return any(other[: len(path)] == path and other != path for other in found)


def _short(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def told(faults: Iterable[Fault], where: Callable[[Path], str]) -> list[str]:
    """Write each fault in one line, `WHERE: KEY: WHAT`; words that begin with the key say it already."""
    lines = []
    for path, said in faults:
        key, place = ".".join(path), where(path)
        lines.append(f"{place}: {said}" if place.startswith(f"{key}=") else f"{place}: {key}: {said}")
    return lines
