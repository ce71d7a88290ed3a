"""Snapshots of a drift layer: where its clocks stand and what is in force, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Snapshot = dict[str, Any]  # numbers, texts, None, and lists and dicts of them: JSON keeps every bit


def check_snapshot(snapshot: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Hold a snapshot to one that the layer makes itself.

    Raises:
        ValueError: it is of another kind of layer, of other parameters, of another number of copies, or one of the two
            has a trigger and the other has none.
    """
    if snapshot.keys() != own.keys():
        raise ValueError(f"no snapshot of such a layer: it has {', '.join(snapshot)}, not {', '.join(own)}")
    for what, of in (("drifts", _drifts), ("copies", _copies), ("trigger", _trigger)):
        if of(snapshot) != of(own):
            raise ValueError(f"the snapshot is of another layer: its {what} {of(snapshot)}, here {of(own)}")


def _drifts(snapshot: Mapping[str, Any]) -> list[str]:
    return sorted(snapshot["in_force"]["drift"])


def _copies(snapshot: Mapping[str, Any]) -> int:
    return len(snapshot["own_clocks"]["elapsed"])


def _trigger(snapshot: Mapping[str, Any]) -> bool:
    return snapshot["own_clocks"]["trigger"] is not None
