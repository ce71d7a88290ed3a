"""Termination: signals as exceptions, or as a request to end at a good moment, so that what ends tidies up."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from lopgym.studies.notices import notice

ECHO = 0.3  # s: a second signal within is the first one again: `timeout`, `uv run` and shells signal a group twice
_STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")


class Terminated(BaseException):
    """SIGTERM or SIGHUP came."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated inside the block at the first SIGTERM, and ignore more: they would cut the tidying short.

    Only the main thread may enter, which is the only one that Python's signals reach.
    """
    before = signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise Terminated


@dataclass
class Stop:
    """A request to stop at the next good moment.

    Args:
        asked: name of the signal that asked, None as long as none came.
    """

    asked: str | None = None
    _at: float = 0.0

    def obey(self) -> None:
        """Raise what the signal that asked stands for; do nothing if none did.

        Raises:
            KeyboardInterrupt: SIGINT came.
            Terminated: SIGTERM or SIGHUP came.
        """
        if self.asked is not None:
            _RAISED[self.asked](signal.Signals[self.asked], None)


_RAISED: dict[str, Callable[[int, FrameType | None], object]] = {
    "SIGINT": signal.default_int_handler,
    "SIGTERM": _raise,
    "SIGHUP": _raise,
}


def _tell(line: str) -> None:
    """Write a notice, but not in a worker: its parent stops it, and knows."""
    if multiprocessing.parent_process() is None:
        notice(line)


@contextmanager
def stoppable(say: Callable[[str], None] = _tell) -> Iterator[Stop]:
    """Let the first SIGINT, SIGTERM or SIGHUP inside the block ask for a stop, and the second one stop at once.

    What is asked for is done by whoever looks at `Stop.asked` at a moment that can be gone on from, and calls `obey`. A
    signal that this process ignores, as under `nohup` or in a shell's background, stays ignored. In a thread, which
    signals do not reach, nothing is ever asked.

    Args:
        say: gets one line when a stop is asked for; standard error by default, and nobody in a worker process.
    """
    stop = Stop()

    def heard(number: int, frame: FrameType | None) -> None:
        name, now = signal.Signals(number).name, time.monotonic()
        if stop.asked is None:
            stop.asked, stop._at = name, now
            say(f"{name}: stops at the next moment from which it can go on; once more: at once")
        elif now - stop._at > ECHO:
            _RAISED[name](number, frame)

    before = {number: signal.getsignal(number) for number in _heard()}
    try:
        for number in before:
            signal.signal(number, heard)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _heard() -> list[signal.Signals]:
    """Return the signals that can ask: those of this system that are not ignored."""
    if threading.current_thread() is not threading.main_thread():
        return []
    there = [signal.Signals[name] for name in _STOPPING if name in signal.Signals.__members__]
    return [number for number in there if signal.getsignal(number) is not signal.SIG_IGN]
