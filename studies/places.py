"""Places: the line of the file, or the words on the command line, that a config value came from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from hydra.types import RunMode

from lopgym.studies.request import Request


@dataclass(frozen=True)
class Document:
    """A YAML file that took part: where it is, under which key its contents stand, its syntax tree."""

    path: Any
    prefix: tuple[str, ...]
    root: yaml.Node | None


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
            for document in self._documents:
                if line := _line(document, path[:end]):
                    return f"{_near(document.path)}:{line}"
        return ""

    @cached_property
    def _documents(self) -> list[Document]:
        """The files behind the choices; the one that wins stands first. Read only when there is a fault to place."""
        lines = [choice.line for choice in self.request.choices]
        parts = self.loader.compute_defaults_list("config", lines, RunMode.RUN).defaults
        return [document for part in reversed(parts) if (document := self._document(part))]

    def _document(self, part: Any) -> Document | None:
        found = self.loader.repository.load_config(part.config_path)
        scheme, _, root = found.path.partition("://") if found is not None else ("", "", "")
        if scheme not in _ROOTS or root.startswith("hydra."):
            return None  # made from a signature, or Hydra's own
        path = _ROOTS[scheme](root) / f"{part.config_path}.yaml"
        prefix = tuple(part.package.split(".")) if part.package else ()
        return Document(path, prefix, yaml.compose(path.read_text()))


_ROOTS: dict[str, Any] = {"pkg": files, "file": Path}


def _line(document: Document, path: tuple[str, ...]) -> int:
    """Return the line of the key at `path` in the document, 0 if it is not there."""
    depth = len(document.prefix)
    if document.prefix != path[:depth]:
        return 0
    node, line = document.root, 0
    for key in path[depth:]:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        name, node = next(((name, value) for name, value in pairs if str(name.value) == key), (None, None))
        if name is None:
            return 0
        line = name.start_mark.line + 1
    return int(line)


def _near(path: Path) -> Path:
    """Say a path from here, if it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
