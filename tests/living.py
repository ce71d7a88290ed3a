"""What tests begin, cut off and outlive: the command, runs that end in the middle, processes that must be gone."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

LOPGYM = Path(sys.executable).with_name("lopgym")

# Elsewhere `alive` would take every process for gone, and no test of what is left behind could fail.
reads_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class CutOff(BaseException):
    """What a run meets in the middle: nothing in it expects that, or catches it."""


def alive(pid: int) -> bool:
    """Say whether a process runs or could; one that has ended and was not waited for is gone. Linux only."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def gone(pids: Iterable[int], seconds: float = 10.0) -> bool:
    """Say whether processes are gone, soon."""
    left, end = [*pids], time.monotonic() + seconds
    while any(map(alive, left)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(alive, left))
