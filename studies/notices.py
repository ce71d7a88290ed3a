"""Notices: lines for people on standard error, which never end the work that they are about."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any, TextIO

# The pipe has no reader, the disk under it is full; the stream is closed; a signal came while another line was written.
_UNHEARD = (OSError, ValueError, RuntimeError)


def notice(line: str) -> None:
    """Write a line to standard error, if anybody can hear it."""
    stream: TextIO | None = sys.stderr
    if stream is not None:
        with suppress(*_UNHEARD):
            print(line, file=stream, flush=True)


class Unbreakable:
    """A text stream whose `write` and `flush` go through if they can and are left if not; all else is the stream's."""

    def __init__(self, stream: TextIO) -> None:
        """Stand in front of `stream`."""
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or do nothing."""
        with suppress(*_UNHEARD):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or do nothing."""
        with suppress(*_UNHEARD):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Answer as the stream does."""
        return getattr(self._stream, name)
