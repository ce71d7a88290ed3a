"""The points in event files, as programs read them that know of nothing but records."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

Points = dict[str, list[tuple[int, float]]]


def plainly(folder: Path) -> Points:
    """Read file by file, without purging."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    points: Points = {}
    for path in sorted(folder.glob("events.out.*")):
        for event in LegacyEventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    points.setdefault(value.tag, []).append((event.step, value.simple_value))
    return points


def doubles(points: Points) -> int:
    """Count the points that are there more than once."""
    return sum(n - 1 for values in points.values() for n in Counter(step for step, _ in values).values())
