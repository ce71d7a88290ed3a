"""Request: what a user asks for beside the files, as words of a command line or as Python keywords."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

from lopgym.schedules import to_plain
from lopgym.strict_yaml import DEEPEST
from lopgym.studies.faults import ConfigError
from lopgym.yaml_scalars import LONGEST

ONE = ("study", "env", "agent")  # groups of which one entry is chosen
MANY = ("mitigation", "probes")  # groups of which any number is, in order
GROUPS = (*ONE, *MANY)
MOST_PARTS = 4  # interpolations in one value
_DIGITS = re.compile(rf"\d{{{LONGEST + 1},}}")


@dataclass(frozen=True)
class Choice:
    """Entries chosen in a group, and how that was said."""

    group: str
    names: tuple[str, ...]
    said: str

    @property
    def line(self) -> str:
        """The choice as Hydra takes it."""
        return f"{self.group}={self.names[0]}" if len(self.names) == 1 else f"{self.group}=[{','.join(self.names)}]"


@dataclass(frozen=True)
class Value:
    """A value for one key, which has dots, and how that was said."""

    key: str
    value: Any
    said: str


@dataclass(frozen=True)
class Request:
    """Choices and values, in order."""

    choices: tuple[Choice, ...]
    values: tuple[Value, ...]


def from_words(loader: Any, words: Sequence[str]) -> Request:
    """Read `group=name`, `mitigation=[redo,layer_norm]` and `key=value` in Hydra's grammar.

    Raises:
        ConfigError: some words are not of that form.
    """
    faults: list[str] = []
    asked: list[Choice | Value] = []
    for word in words:
        if trouble := _riddle(word):
            faults.append(f"{_short(word)}: {trouble}")
            continue
        try:
            asked.append(_asked(OverridesParser.create(config_loader=loader).parse_override(_quoted(word)), word))
        except HydraException as error:
            faults.append(f"{word}: not of the form key=value ({_first_line(error)})")
        except ConfigError as error:
            faults.extend(error.lines)
    if faults:
        raise ConfigError(faults)
    return _request(asked)


def _riddle(word: str) -> str:
    """Say what in a word is more than its reader could bear, "" if nothing is."""
    if longest := max(map(len, _DIGITS.findall(word)), default=0):
        return f"a number of {longest:,} digits; at most {LONGEST}"
    depth = max(accumulate((letter in "[{(") - (letter in "]})") for letter in word), default=0)
    if depth > DEEPEST:
        return f"nested more than {DEEPEST} deep"
    return f"more than {MOST_PARTS} interpolations, ${{KEY}}" if word.count("${") > MOST_PARTS else ""


def _short(word: str, limit: int = 60) -> str:
    return word if len(word) <= limit else f"{word[:limit]}..."


def _quoted(word: str) -> str:
    """Quote a plain value with letters outside ASCII, such as a folder's name, which Hydra's grammar takes only so."""
    key, equals, value = word.partition("=")
    plain = equals and not value.isascii() and not set(value) & set("\"'\\[]{}(),")
    return f'{key}="{value}"' if plain else word


def from_keywords(study: str, keywords: Mapping[str, Any]) -> Request:
    """Read Python keywords: nested dicts, or keys with dots; a group takes names, or a dict of options.

    >>> request = from_keywords("catch_dqn", {"mitigation": {"redo": {"tau": 0.2}}, "seed": 3})
    >>> [choice.line for choice in request.choices], [(value.key, value.value) for value in request.values]
    (['study=catch_dqn', 'mitigation=redo'], [('mitigation.redo.tau', 0.2), ('seed', 3)])
    """
    asked: list[Choice | Value] = [Choice("study", (study,), f"study={study}")]
    for key, value in keywords.items():
        asked += _READ.get(key, _value)(key, _plain(value))
    return _request(asked)


def _request(asked: Sequence[Choice | Value]) -> Request:
    choices = {one.group: one for one in asked if isinstance(one, Choice)}  # the last of a group wins, as with values
    return Request(tuple(choices.values()), tuple(one for one in asked if isinstance(one, Value)))


def _asked(override: Override, word: str) -> Choice | Value:
    key, value = override.key_or_group, None if override.is_sweep_override() else override.value()
    if override.type is not OverrideType.CHANGE or override.package is not None:
        raise ConfigError([f"{word}: write key=value; adding and deleting (+, ++, ~, @) are not needed here"])
    if override.is_sweep_override():
        raise ConfigError([f"{word}: that makes several runs; `lopgym train` makes one"])
    if key in GROUPS:
        return _choice(key, value, word)
    group, _, rest = key.partition(".")
    if rest == "kind" and group in ONE:
        raise ConfigError([f"{word}: write {group}={value}"])
    return Value(key, value, word)


def _choice(group: str, value: Any, said: str) -> Choice:
    names = [str(name) for name in value] if isinstance(value, list) else ["none" if value is None else str(value)]
    if isinstance(value, dict):
        raise ConfigError([f"{said}: {group} is chosen by name; write its options as {group}.KEY=VALUE"])
    if group in ONE and len(names) != 1:
        raise ConfigError([f"{said}: {group} takes one name"])
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError([f"{said}: {twice[0]} is chosen twice"])
    return Choice(group, tuple(names) or ("none",), said)


def _value(key: str, value: Any) -> Iterator[Choice | Value]:
    yield Value(key, value, f"{key}={value!r}")


def _one(group: str, value: Any) -> Iterator[Choice | Value]:
    """A name, or a dict with the name as `kind` and options beside it."""
    options = dict(value) if isinstance(value, Mapping) else {"kind": value}
    if "kind" in options:
        kind = options.pop("kind")
        yield _choice(group, kind, f"{group}={kind!r}")
    for name, option in options.items():
        yield from _value(f"{group}.{name}", option)


def _many(group: str, value: Any) -> Iterator[Choice | Value]:
    """A name, several, or a dict from names to options."""
    names = [value] if isinstance(value, str) else list(value or ())
    yield _choice(group, names, f"{group}={value!r}")
    for name, options in value.items() if isinstance(value, Mapping) else ():
        for option, setting in (options or {}).items():
            yield from _value(f"{group}.{name}.{option}", setting)


_READ: dict[str, Callable[[str, Any], Iterator[Choice | Value]]] = {
    "env": _one,
    "agent": _one,
    "mitigation": _many,
    "probes": _many,
}


def _plain(value: Any) -> Any:
    """Say schedules, however deep inside, as plain data."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return to_plain(value) if hasattr(value, "next_change") else value


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
