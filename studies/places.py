"""Places: the line of the file, or the words on the command line, that a config value came from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from hydra.types import RunMode

from lopgym.strict_yaml import Document
from lopgym.studies.request import Request
from lopgym.studies.strict_source import SCHEME, document, near


@dataclass(frozen=True)
class Part:
    """A file that took part: where it is, under which key its contents stand, and what it says where."""

    path: Path
    prefix: tuple[str, ...]
    document: Document


@dataclass(frozen=True)
class Places:
    """Finds where values came from.

    Args:
        loader: Hydra's, inside a session.
        request: the choices that exist, and all values.
    """

    loader: Any
    request: Request

    def of(self, path: tuple[str, ...]) -> str:
        """Return the words that gave the value at `path`, else FILE:LINE of it or of the nearest key above it."""
        return self._words(path) or self._file_and_line(path) or "config"

    def _words(self, path: tuple[str, ...]) -> str:
        """The words for a key or for one above it; for several keys below it; for the entry chosen there."""
        key = ".".join(path)
        values = self.request.values
        above = [value.said for value in values if f"{key}.".startswith(f"{value.key}.")]
        below = [value.said for value in values if value.key.startswith(f"{key}.")]
        chosen = [choice.said for choice in self.request.choices if choice.group == key]
        return " ".join(above[-1:] or below or chosen)

    def _file_and_line(self, path: tuple[str, ...]) -> str:
        for end in range(len(path), 0, -1):
            for part in self._parts:
                if place := _place(part, path[:end]):
                    return f"{near(part.path)}:{place}"
        return ""

    @cached_property
    def _parts(self) -> list[Part]:
        """The files behind the choices; the one that wins stands first. Read only when there is a fault to place."""
        lines = [choice.line for choice in self.request.choices]
        defaults = self.loader.compute_defaults_list("config", lines, RunMode.RUN).defaults
        return [part for entry in reversed(defaults) if (part := self._part(entry))]

    def _part(self, entry: Any) -> Part | None:
        found = self.loader.repository.load_config(entry.config_path)
        scheme, _, root = found.path.partition("://") if found is not None else ("", "", "")
        if scheme not in _ROOTS or root.startswith("hydra."):
            return None  # made from a signature, or Hydra's own
        path = Path(_ROOTS[scheme](root), f"{entry.config_path}.yaml")
        return Part(path, tuple(entry.package.split(".")) if entry.package else (), document(path))


_ROOTS: dict[str, Any] = {"pkg": files, SCHEME: Path}


def _place(part: Part, path: tuple[str, ...]) -> str:
    """Return LINE:COLUMN of the key at `path`, nothing if it is not in the file."""
    depth = len(part.prefix)
    found = part.document.places.get(path[depth:]) if part.prefix == path[:depth] else None
    return f"{found[0]}:{found[1]}" if found else ""
