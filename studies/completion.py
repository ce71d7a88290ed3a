"""Completion of overrides in a shell, from the file tree alone: a key press must not wait for torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_SOURCES = {"env": "envs", "agent": "agents", "mitigation": "agents/mitigations", "probes": "probes"}
_KEYS = ("tasks=", "steps_per_task=", "seed=", "runs_dir=", "device=", "probe_every=", "report_every=", "fork.every=")
_MADE = {"env": ("custom",), "mitigation": ("none",), "probes": ("all", "none")}  # neither a preset nor registered
_REGISTERED = re.compile(r'@(?:(?:environments|agents|mitigations|probes)\.)?register\(\s*"(\w+)"')


def complete(before: Sequence[str], incomplete: str) -> list[str]:
    """Return what may come next.

    Args:
        before: the words of the command line before this one.
        incomplete: what was typed of this one.
    """
    group, equals, start = incomplete.partition("=")
    if equals and group:  # zsh and fish complete the whole word
        return [f"{group}={name}" for name in choices(group) if name.startswith(start)]
    words = [word for word in before if word != "="]
    if words and "=" not in words[-1]:  # bash cuts words at "=": what stands before is the group
        return [name for name in choices(words[-1]) if name.startswith(start if equals else incomplete)]
    return [key for key in ("study=", *(f"{group}=" for group in _SOURCES), *_KEYS) if key.startswith(incomplete)]


def choices(group: str) -> list[str]:
    """Return the entries of a group: presets, and what is registered."""
    presets = {path.stem for path in (_PACKAGE / "configs" / group).glob("*.yaml")}
    return sorted({*presets, *_registered(group), *_MADE.get(group, ())})


def _registered(group: str) -> Iterator[str]:
    for path in (_PACKAGE / _SOURCES[group]).glob("*.py") if group in _SOURCES else ():
        yield from _REGISTERED.findall(path.read_text())
