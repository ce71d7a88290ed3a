"""Work for the tests of parallel runs: importable, as another process needs it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from lopgym.studies.progress import Progress, Watcher


def work(config: dict[str, Any], report: Watcher) -> int:
    """Do as `config` says: report, wait, fail, die, or return twice its number."""
    report(Progress("from the worker", 0, 1, 1, 2, 0.0))
    if "meet" in config:
        _meet(Path(config["meet"]), config["number"])
    if config.get("raise"):
        raise ValueError("no such\nthing")
    if config.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if config.get("leave"):
        os._exit(3)
    return 2 * int(config["number"])


def hang(config: dict[str, Any], report: Watcher) -> None:
    """Say where one is, by a file, and never return."""
    Path(config["here"]).write_text(str(os.getpid()))
    report(Progress("", 0, 1, 1, 2, 0.0))
    time.sleep(3600)


def _meet(place: Path, number: int) -> None:
    """Return when the other one is there too, which needs two processes at once."""
    (place / str(number)).touch()
    end = time.monotonic() + 30
    while len(list(place.iterdir())) < 2:
        if time.monotonic() > end:
            raise TimeoutError("nobody came")
        time.sleep(0.01)
