"""Termination: signals as exceptions, or as a request to end at a good moment, so that what ends tidies up."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from lopgym.studies.notices import notice

ECHO = 0.3  # s: a second signal within is the first one again: `timeout`, `uv run` and shells signal a group twice
_ENDING = ("SIGTERM", "SIGHUP")
_STOPPING = ("SIGINT", *_ENDING)

_Handler = Callable[[int, FrameType | None], object] | int | None


class Terminated(BaseException):
    """SIGTERM or SIGHUP came."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated inside the block at the first SIGTERM or SIGHUP, and ignore more: they would cut tidying short.

    What this process ignores stays ignored. In a thread, which signals do not reach, nothing is ever raised.
    """
    before = {number: signal.getsignal(number) for number in _heard(_ENDING)}
    try:
        for number in before:
            signal.signal(number, _raise)
        yield
    finally:
        _give_back(before)


def _raise(number: int, frame: FrameType | None) -> None:
    for each in _heard(_ENDING):  # a terminal that goes is a SIGHUP, and often a SIGTERM after that
        signal.signal(each, signal.SIG_IGN)
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
def stoppable(say: Callable[[str], None] = _tell, *, go_on: str = "") -> Iterator[Stop]:
    """Let the first SIGINT, SIGTERM or SIGHUP inside the block ask for a stop, and the second one stop at once.

    What is asked for is done by whoever looks at `Stop.asked` at a moment that can be gone on from, and calls `obey`. A
    signal that this process ignores, as under `nohup` or in a shell's background, stays ignored. In a thread, which
    signals do not reach, nothing is ever asked.

    Args:
        say: gets one line when a stop is asked for; standard error by default, and nobody in a worker process.
        go_on: command that goes on with what was stopped; it is said, too, when that is over.
    """
    stop = Stop()

    def heard(number: int, frame: FrameType | None) -> None:
        name, now = signal.Signals(number).name, time.monotonic()
        if stop.asked is None:
            stop.asked, stop._at = name, now
            say(f"{name}: stops at the next moment from which it can go on; once more: at once")
        elif now - stop._at > ECHO:
            _RAISED[name](number, frame)

    before = {number: signal.getsignal(number) for number in _heard(_STOPPING)}
    try:
        for number in before:
            signal.signal(number, heard)
        yield stop
    except (KeyboardInterrupt, Terminated):
        if go_on:
            say(f"goes on with: {go_on}")
        raise
    finally:
        _give_back(before)


def _give_back(handlers: Mapping[signal.Signals, _Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _heard(names: Iterable[str]) -> list[signal.Signals]:
    """Return those signals that this system has and this process does not ignore; a thread gets none."""
    if threading.current_thread() is not threading.main_thread():
        return []
    there = [signal.Signals[name] for name in names if name in signal.Signals.__members__]
    return [number for number in there if signal.getsignal(number) is not signal.SIG_IGN]
