"""Changes: what of a run may be another from now on, and it is still the same run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lopgym.registry import nearest
from lopgym.studies.checks import check
from lopgym.studies.compose import Config, ConfigError, from_plain
from lopgym.studies.faults import told
from lopgym.studies.resume import CannotResume
from lopgym.yaml_scalars import scalar

CHANGEABLE = ("tasks", "checkpoint.every", "checkpoint.keep")  # no number of the run so far hangs on them


def from_words(words: Sequence[str]) -> dict[str, Any]:
    """Read changes as they are typed.

    >>> from_words(["tasks=30", "checkpoint.every=4_000"])
    {'tasks': 30, 'checkpoint.every': 4000}

    Raises:
        ConfigError: some words are no `key=value`.
    """
    found, faults = dict[str, Any](), list[str]()
    for word in words:
        key, equals, value = word.partition("=")
        try:
            found[key] = scalar(value)
        except ValueError as error:
            faults.append(f"{key}: {error}")
        if not key or not equals:
            faults.append(f"{word}: not of the form key=value")
    if faults:
        raise ConfigError(faults)
    return found


def changed(config: Config, changes: Mapping[str, Any]) -> Config:
    """Return the config with which a run goes on: another number of tasks, or other checkpoints.

    Args:
        config: of the run so far.
        changes: of `CHANGEABLE`, by keys with dots; what is as it was may be any key.

    Raises:
        CannotResume: another key, or fewer tasks; a line for each.
        ConfigError: values that are not valid.
    """
    data = config.plain()
    lines = [line for key, value in changes.items() for line in _refused(data, key, value)]
    if lines:
        raise CannotResume(*lines)
    for key in CHANGEABLE:
        inner, _, last = key.rpartition(".")
        within = data[inner] if inner else data
        within[last] = changes.get(key, within[last])
    new = from_plain(data) if changes else config
    if new.tasks < config.tasks:
        raise CannotResume(f"tasks={new.tasks}: the run has {config.tasks}; it can be made longer, and not shorter")
    if faults := check(new, None) if new.tasks > config.tasks else []:
        raise ConfigError(told(faults, lambda path: f"tasks={new.tasks}"))
    return new


def _refused(data: Any, key: str, value: Any) -> Iterator[str]:
    """Say why a key cannot have another value from now on; nothing if it can, or is as it was."""
    was = data
    for part in key.split("."):
        was = was.get(part, _refused) if isinstance(was, dict) else _refused
    if was is _refused:
        yield f"{key}={value}: unknown option; {nearest(key, CHANGEABLE)}"
    elif key not in CHANGEABLE and value != was:
        yield f"{key} was {was!r} and is {value!r}: that would be another run; what may change: {', '.join(CHANGEABLE)}"
