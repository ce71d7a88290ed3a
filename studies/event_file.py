"""Event files: what TensorBoard reads, written by whoever has something to say, and never the end of a run."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]  # it ships no types
from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

_PREFIX = "events.out.tfevents."
_VERSION = "brain.Event:2"


class EventFile:
    """One event file: what SummaryWriter wants of its own, without the thread.

    An error of the disk is raised where it can be caught, and what was flushed is a number of bytes that can be told.
    """

    def __init__(self, folder: Path) -> None:
        """Begin a file in `folder` that TensorBoard reads after all others there, even if the clock was set back."""
        folder.mkdir(parents=True, exist_ok=True)
        last = max((_stamp(path) for path in folder.glob(f"{_PREFIX}*")), default=0)
        name = f"{_PREFIX}{max(int(time.time()), last + 1):010d}.{socket.gethostname()}.{os.getpid()}.0"
        self.path = folder / name
        self._file = self.path.open("xb")
        self._records = RecordWriter(self._file)
        self.add_event(Event(file_version=_VERSION))

    def add_event(self, event: Any, step: int | None = None, walltime: float | None = None) -> None:
        """Append an event."""
        event.wall_time = time.time() if walltime is None else walltime
        if step is not None:
            event.step = int(step)
        self._records.write(event.SerializeToString())

    def add_summary(self, summary: Any, global_step: int | None = None, walltime: float | None = None) -> None:
        """Append a summary."""
        self.add_event(Event(summary=summary), global_step, walltime)

    def get_logdir(self) -> str:
        """Return the folder."""
        return str(self.path.parent)

    def flush(self) -> None:
        """Hand everything to the system: a reader sees it, and it outlives this process."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _stamp(path: Path) -> int:
    """Return the second that the name of an event file begins with, by which TensorBoard sorts."""
    digits = path.name.removeprefix(_PREFIX).partition(".")[0]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


class _Writer(SummaryWriter):
    """SummaryWriter into an EventFile."""

    def __init__(self, folder: Path) -> None:
        self.events = EventFile(folder)
        super().__init__(str(folder))

    def _get_file_writer(self) -> EventFile:
        return self.events

    def add_hparams(
        self,
        hparam_dict: dict[str, bool | str | float | int | None],
        metric_dict: dict[str, float],
        hparam_domain_discrete: dict[str, list[Any]] | None = None,
        run_name: str | None = None,
        global_step: int | None = None,
    ) -> None:
        """Enter a row into the table of hyperparameters: here, too, where SummaryWriter would open one more file."""
        row = hparams(hparam_dict, metric_dict, hparam_domain_discrete)  # type: ignore[no-untyped-call]
        for part in row:
            self.events.add_summary(part, global_step)
        for tag, value in metric_dict.items():
            self.add_scalar(tag, value, global_step)


class EventFiles:
    """The event files of a run. The first error of the disk is told in a line, and from then on nothing is written."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        """Write into `folder`, from the first time that there is something to write; `say` gets the line."""
        self._folder, self._say = folder, say
        self._writer: _Writer | None = None
        self._known: set[str] = set()  # names of the files that this run has written
        self._broken = False

    def add(self, act: Callable[[SummaryWriter], object]) -> None:
        """Let `act` write, and flush."""
        self._guarded(lambda: self._flushed(act))

    def sizes(self) -> dict[str, int]:
        """Return name -> bytes of the files, to go on from; nothing if there are none or they are not whole."""
        found: dict[str, int] = {}
        self._guarded(lambda: found.update({name: (self._folder / name).stat().st_size for name in self._known}))
        return {} if self._broken else found

    def go_on(self, sizes: Mapping[str, int], step: int) -> bool:
        """Cut the files to `sizes`, take away any others, and say whether they are whole; if not, all are taken away.

        What follows goes to a new file, which tells a TensorBoard that is looking to forget what it has seen from
        `step` on, or all if the files were not whole. One that cuts no files needs more than that: stripes are written
        with steps that have passed.
        """
        self.close()
        whole = self._guarded(lambda: self._cut(sizes))
        self._known = set(sizes) if whole else set()
        forget = step if whole else 0
        self.add(lambda writer: _restart(writer, forget))
        return whole

    def close(self) -> None:
        """Close the file."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        if self._broken:
            with suppress(OSError):
                writer.events.close()
            with suppress(OSError):
                _drop_empty(writer.events.path)
        else:
            self._guarded(writer.events.close)

    def _guarded(self, act: Callable[[], Any]) -> bool:
        """Return what `act` says, yes if it says nothing, and no if it failed or the files are given up."""
        if self._broken:
            return False
        try:
            return act() is not False
        except OSError as error:
            self._broken = True
            self._say(f"warning: TensorBoard shows no more of {self._folder}, {error}; metrics.jsonl has it all")
            return False

    def _flushed(self, act: Callable[[SummaryWriter], object]) -> None:
        if self._writer is None:
            if not self._known:
                self._cut({})  # of an earlier life, which did not come as far as anything to go on from
            self._writer = _Writer(self._folder)
            self._known.add(self._writer.events.path.name)
        act(self._writer)
        self._writer.events.flush()

    def _cut(self, sizes: Mapping[str, int]) -> bool:
        found = {path.name: path for path in self._folder.glob(f"{_PREFIX}*")}
        files = {name for name, path in found.items() if path.is_file() and not path.is_symlink()}
        whole = bool(sizes) and all(name in files and found[name].stat().st_size >= sizes[name] for name in sizes)
        for name, path in found.items():
            if whole and name in sizes:
                os.truncate(path, sizes[name])
            else:
                path.unlink()
        return whole


def _drop_empty(path: Path) -> None:
    """Leave no file that found no room at all."""
    if not path.stat().st_size:
        path.unlink()


def _restart(writer: SummaryWriter, step: int) -> None:
    event = Event(session_log=SessionLog(status=SessionLog.START))
    writer._get_file_writer().add_event(event, step)  # type: ignore[no-untyped-call]
