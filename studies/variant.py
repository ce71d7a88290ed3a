"""Variant: the folder name that says how a run departs from the defaults of its study."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LONGEST = 100
_NOT_PART = {"seed", "runs_dir", "variant"}  # the seed has a folder of its own; the place of a run is not what it is


def describe(config: Mapping[str, Any], plain: Mapping[str, Any], choices: Sequence[str] = ()) -> str:
    """Name the departure of `config` from `plain`, the study with the same mitigations and nothing else changed.

    First the mitigations, each with its options that differ, `@` for the task that it begins to act from; then, behind
    `--`, what else differs. The name is safe on every file system; one too long, or with letters that are not, is cut
    or cleaned and ends in a hash of the whole.

    Args:
        config: nested options, as composed.
        plain: the same of the study, with the mitigations of `config`.
        choices: other entries chosen than the study chooses, `agent=ppo`.

    >>> describe({"mitigation": {"redo": {"active_from": 14}}}, {"mitigation": {"redo": {"active_from": 0}}})
    'redo@14'
    >>> describe({"mitigation": {}, "agent": {"hidden": [8, 8]}}, {"agent": {"hidden": [32, 32]}})
    'none--agent.hidden=8x8'
    >>> describe({"ids": ["CartPole-v1", ["Catch-v0", {"rows": 8, "drifts": {}}]]}, {})
    'none--ids=CartPole-v1xCatch-v0+drifts=empty+rows=8'
    """
    chosen = config.get("mitigation", {})
    tuned = plain.get("mitigation", {})
    stack = "+".join(_mitigation(name, options, tuned.get(name, {})) for name, options in chosen.items()) or "none"
    ignored = {*_NOT_PART, "mitigation"}
    rest = [*choices, *sorted(_differences(_without(config, ignored), _without(plain, ignored)))]
    return _safe("--".join([stack, ",".join(rest)] if rest else [stack]))


def _mitigation(name: str, options: Mapping[str, Any], tuned: Mapping[str, Any]) -> str:
    start = options.get("active_from", 0)
    late = f"@{start}" if start != tuned.get("active_from", 0) else ""
    others = _differences(_without(options, {"active_from"}), _without(tuned, {"active_from"}))
    return ",".join([name + late, *sorted(others)])


def _without(options: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}


def _differences(new: Mapping[str, Any], old: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield `key=value` for every leaf that is not as it was; a leaf that is gone is `key=null`."""
    for key in [*new, *(key for key in old if key not in new)]:
        value, was = new.get(key), old.get(key)
        if isinstance(value, Mapping) and value:
            yield from _differences(value, was if isinstance(was, Mapping) else {}, f"{prefix}{key}.")
        elif value != was or type(value) is bool is not type(was):
            yield f"{prefix}{key}={_written(value)}"


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return "+".join(sorted(_leaves(value))) or "empty"
    if isinstance(value, list | tuple):
        between = "+" if any(isinstance(part, Mapping) for part in value) else "x"  # what is no size is no product
        return between.join(map(_written, value)) or "empty"
    return "null" if value is None else str(value)


def _leaves(options: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in options.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={_written(value)}"


def _safe(name: str) -> str:
    clean = re.sub(r"[^A-Za-z0-9._,=+@-]", "~", name)
    if clean == name and len(name) <= LONGEST:
        return name
    return f"{clean[: LONGEST - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
