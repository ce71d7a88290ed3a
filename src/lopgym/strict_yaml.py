"""Strict YAML: a file as plain data with the place of each key; nothing in it is guessed, built twice or run.

Text, numbers and words are read as `lopgym.yaml_scalars` says. What a config has no need for is refused: tags, anchors,
aliases, merge keys, a second document, keys that are no text or stand there twice.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from lopgym.yaml_scalars import scalar

MOST_BYTES = 2**20
DEEPEST = 50  # mappings and lists inside one another
MOST_VALUES = 20_000
MOST_FAULTS = 20  # that are told of one file

Keys = tuple[str, ...]  # from the top; an item of a list is keyed by its number
Place = tuple[int, int]  # line and column, from 1


class YamlError(ValueError):
    """All that is wrong with one file, in lines `FILE:LINE:COLUMN: what came, what is allowed`."""

    exit_code = 2

    def __init__(self, lines: Iterable[str]) -> None:
        """Keep the lines."""
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


@dataclass(frozen=True)
class Document:
    """A mapping that was read, the text that it was read from, and where each of its keys and items stands."""

    text: str
    data: dict[str, Any]
    places: Mapping[Keys, Place]


def read(path: Path, called: str = "") -> Document:
    """Read a file.

    Args:
        path: the file; UTF-8 without a byte order mark, at most 1 MiB.
        called: its name in messages, if not `path`.

    Raises:
        YamlError: it is not strict YAML, or no file.
        OSError: it cannot be read.
    """
    name = called or str(path)
    return parse(_text(_bytes(path, name), name), name)


def parse(text: str, name: str) -> Document:
    r"""Read text; `name` is that of its file.

    >>> parse("rate: 3e-4\nsleep: no\n", "a.yaml").data
    {'rate': 0.0003, 'sleep': 'no'}
    >>> parse("seed: 1\nseed: 2\n", "a.yaml")
    Traceback (most recent call last):
    lopgym.strict_yaml.YamlError: a.yaml:2:1: 'seed' a second time; it stands in line 1 already

    Raises:
        YamlError: it is not strict YAML.
    """
    return _Reader(text, name).document()


def dump(data: Any) -> str:
    """Write plain data so that `read` gives it back: text that would be read as something else in quotes."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _bytes(path: Path, name: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a named pipe would keep an open() waiting
    with open(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise YamlError([f"{name}: not a regular file"])
        if about.st_size > MOST_BYTES:
            raise YamlError([f"{name}: {about.st_size:,} bytes; at most {MOST_BYTES:,}"])
        return file.read(MOST_BYTES)


def _text(raw: bytes, name: str) -> str:
    """Decode, and refuse what an editor does not show."""
    if raw.startswith(_MARKS):
        raise YamlError([f"{name}:1:1: a byte order mark; save the file as UTF-8 without one"])
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode()
        place = _place(before, len(before))
        raise YamlError(
            (f"{name}:{place}: the byte 0x{raw[error.start]:02X} is not UTF-8; save the file as UTF-8",)
        ) from None
    if found := _UNSEEN.search(text):
        said = f"the control character U+{ord(found[0]):04X}; a config is plain text"
        raise YamlError([f"{name}:{_place(text, found.start())}: {said}"])
    if found := _TAB.search(text):
        raise YamlError([f"{name}:{_place(text, found.end() - 1)}: indented by a tab; indent by spaces"])
    return text


def _place(text: str, at: int) -> str:
    """Return LINE:COLUMN of a position."""
    return f"{text.count(chr(10), 0, at) + 1}:{at - text.rfind(chr(10), 0, at)}"


_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_TAB = re.compile(r"^ *\t", re.MULTILINE)


class _Reader:
    """Builds plain data from the events of a parser, which neither nest nor grow: limits hold before memory is taken.

    Args:
        text: of the file.
        name: of the file.
    """

    def __init__(self, text: str, name: str) -> None:
        self._text, self._name = text, name
        self._events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self._faults: list[str] = []
        self._places: dict[Keys, Place] = {}
        self._values = 0

    def document(self) -> Document:
        try:
            data = self._whole()
        except yaml.MarkedYAMLError as error:
            raise YamlError([*self._faults, f"{self._at(error.problem_mark)}: {_syntax(error)}"]) from None
        if self._faults:
            raise YamlError(self._faults)
        return Document(self._text, data, self._places)

    def _whole(self) -> Any:
        next(self._events)  # the stream begins
        start = next(self._events)
        if isinstance(start, yaml.StreamEndEvent):
            self._stop(start, f"it is empty; {_EXPECTED}")
        if start.version or start.tags:
            self._fault(start, "a directive (%); a config has none")
        first = next(self._events)
        data = self._node(first, ())
        if not isinstance(data, dict):
            self._fault(first, f"{_called(data)}; {_EXPECTED}")
        next(self._events)  # the document ends
        if not isinstance(after := next(self._events), yaml.StreamEndEvent):
            self._fault(after, "a second document (---); a config is one")
        return data

    def _node(self, event: Any, path: Keys) -> Any:
        """Read one value, which begins with `event`."""
        self._values += 1
        if self._values > MOST_VALUES:
            self._stop(event, f"more than {MOST_VALUES:,} values")
        if self._is_alias(event):
            return None
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if len(path) >= DEEPEST:
            self._stop(event, f"nested more than {DEEPEST} deep")
        return self._mapping(path) if isinstance(event, yaml.MappingStartEvent) else self._list(path)

    def _is_alias(self, event: Any) -> bool:
        """Whether the event stands for another value; and refuse that, and whatever stands before a value."""
        alias = isinstance(event, yaml.AliasEvent)
        if event.anchor is not None:
            self._fault(event, f"{'the alias *' if alias else 'the anchor &'}{_short(event.anchor)}; {_WRITE_OUT}")
        if not alias and event.tag is not None:
            tag = _short(event.tag.replace("tag:yaml.org,2002:", "!!"))
            self._fault(event, f"the tag {tag}; plain values need none")
        return alias

    def _list(self, path: Keys) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            inner = (*path, str(len(items)))
            self._places[inner] = _line_and_column(event.start_mark)
            items.append(self._node(event, inner))
        return items

    def _mapping(self, path: Keys) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event)
            inner = (*path, key)
            if key in pairs:
                self._fault(event, f"{_short(key)!r} a second time; it stands in line {self._places[inner][0]} already")
            self._places.setdefault(inner, _line_and_column(event.start_mark))
            pairs[key] = self._node(next(self._events), inner)
        return pairs

    def _key(self, event: Any) -> str:
        is_text = isinstance(event, yaml.ScalarEvent)
        if not is_text and not isinstance(event, yaml.AliasEvent):
            self._stop(event, "a key that is a list or a mapping; keys are text")
        key = None if self._is_alias(event) else self._scalar(event)
        if key == "<<" and event.implicit[0]:
            self._fault(event, f"the merge key <<; {_WRITE_OUT}")
        elif not isinstance(key, str) and is_text:
            self._fault(event, f"the key {event.value} is no text; keys are: write '{event.value}' if it is meant")
        return str(key)

    def _scalar(self, event: Any) -> Any:
        if not event.implicit[0]:  # in quotes, or a block
            return event.value
        try:
            return scalar(event.value)
        except ValueError as error:
            return self._fault(event, str(error))

    def _fault(self, event: Any, said: str) -> None:
        self._faults.append(f"{self._at(event.start_mark)}: {said}")
        if len(self._faults) >= MOST_FAULTS:
            raise YamlError(self._faults)

    def _stop(self, event: Any, said: str) -> NoReturn:
        self._fault(event, said)
        raise YamlError(self._faults)

    def _at(self, mark: Any) -> str:
        line, column = _line_and_column(mark)
        return f"{self._name}:{line}:{column}"


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # forty times faster where it was compiled
_EXPECTED = "a config is a mapping, lines of KEY: VALUE"
_WRITE_OUT = "write the value out, or refer to another key as ${KEY}"


def _line_and_column(mark: Any) -> Place:
    return mark.line + 1, mark.column + 1


def _syntax(error: yaml.MarkedYAMLError) -> str:
    """Say in one line what the parser says in several."""
    begun = error.context_mark
    since = f" from line {begun.line + 1} on" if begun is not None else ""
    return f"{error.problem} ({error.context}{since})" if error.context else str(error.problem)


def _called(value: Any) -> str:
    """Name what stands where a mapping is expected."""
    return _KINDS.get(type(value)) or f"only the value {_short(str(value))!r}"


_KINDS = {list: "a list", type(None): "nothing but null"}


def _short(text: str, limit: int = 40) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."


class _Dumper(yaml.SafeDumper):
    """Writes what `read` takes."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a list that is in two places twice."""
        return True


def _quoted_if_needed(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        style = None if scalar(text) == text else "'"
    except ValueError:
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _BREAKS.search(text) else style)


_BREAKS = re.compile("[\x85\u2028\u2029]")  # lines end at these in YAML 1.1 only


_Dumper.add_representer(str, _quoted_if_needed)
