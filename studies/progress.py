"""Progress: where a run is, and a display of one or several runs for people and for log files."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, cast

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from lopgym.studies.notices import Unbreakable


@dataclass(frozen=True)
class Progress:
    """A moment in a run.

    Args:
        label: what to call the run: its variant.
        task: number of the task in progress, from 0.
        tasks: how many there are.
        step: environment steps taken, over all copies.
        total: environment steps of the whole run.
        ret: mean episode return of late, NaN before the first episode ends.
    """

    label: str
    task: int
    tasks: int
    step: int
    total: int
    ret: float

    @property
    def return_text(self) -> str:
        """The return to two digits, or a dash."""
        return "-" if math.isnan(self.ret) else f"{self.ret:+.2f}"


Watcher = Callable[[Progress], None]


@contextmanager
def display(console: Console | None = None, *, labels: Iterable[str] = (), every: float = 15.0) -> Iterator[Watcher]:
    """Show progress while the block runs: a live bar a run on a terminal, else a plain line a run now and then.

    Args:
        console: where to; standard error by default, so that standard output stays clean for results.
        labels: of runs that will report, in the order to show them; others follow as they come.
        every: seconds between two plain lines of one run.
    """
    console = console or _console()
    if not console.is_terminal:
        yield _Lines(console, every)
        return
    with _bars(console) as bars:
        rows = _Rows(bars)
        for label in labels:
            rows.add(label)
        yield rows


def _console() -> Console:
    """Make a console whose end, a closed stream or a pipe without a reader, is not the end of what it shows."""
    if sys.stderr is None:  # it was closed before Python began
        return Console(quiet=True)
    return Console(file=cast(IO[str], Unbreakable(sys.stderr)))


@dataclass(frozen=True)
class _Narrowed:
    """Leaves the end of the lines free: the `^C` that a terminal writes there would else begin a new one."""

    inner: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self.inner, options.update_width(options.max_width - 3))


class _Bars(Bars):
    """Bars that a `^C` does not tear."""

    def get_renderable(self) -> RenderableType:
        """Draw all bars."""
        return _Narrowed(super().get_renderable())


def _bars(console: Console) -> Bars:
    return _Bars(
        TextColumn("[bold]{task.description}", table_column=Column(max_width=22, no_wrap=True)),  # the rest fits 80
        BarColumn(bar_width=None),
        TextColumn("task {task.fields[place]}"),
        TextColumn("return {task.fields[ret]:>5}"),
        _Speed(table_column=Column(no_wrap=True)),
        TextColumn("left"),
        TimeRemainingColumn(compact=True),
        console=console,
        expand=True,
    )


class _Speed(ProgressColumn):
    """Environment steps per second of late."""

    def render(self, task: Task) -> Text:
        """Write the speed, a dash before it is known."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:>6,.0f} steps/s" if speed else f"{'-':>6} steps/s")


@dataclass
class _Rows:
    """Keeps one bar for each label."""

    bars: Bars
    ids: dict[str, TaskID] = field(default_factory=dict)

    def __call__(self, now: Progress) -> None:
        place = f"{min(now.task + 1, now.tasks):>{len(str(now.tasks))}}/{now.tasks}"
        if now.label not in self.ids:
            self.add(now.label)
        self.bars.update(self.ids[now.label], total=now.total, completed=now.step, place=place, ret=now.return_text)

    def add(self, label: str) -> None:
        """Begin a row, which moves to and fro until its run reports."""
        self.ids[label] = self.bars.add_task(label, total=None, place="-", ret="-")


@dataclass
class _Lines:
    """Prints a line for a label when it is new, when its run is over, and every so often between."""

    console: Console
    every: float
    printed: dict[str, float] = field(default_factory=dict)
    began: dict[str, tuple[float, int]] = field(default_factory=dict)

    def __call__(self, now: Progress) -> None:
        at = time.monotonic()
        start, first = self.began.setdefault(now.label, (at, now.step))
        if at - self.printed.get(now.label, -math.inf) < self.every and now.step < now.total:
            return
        self.printed[now.label] = at
        speed = (now.step - first) / (at - start) if at > start else 0.0
        left = f", {(now.total - now.step) / speed:,.0f} s left" if speed and now.step < now.total else ""
        pace = f", {speed:,.0f} steps/s{left}" if speed else ""
        self.console.print(
            f"{now.label}: task {min(now.task + 1, now.tasks)}/{now.tasks}, return {now.return_text}, "
            f"step {now.step:,} of {now.total:,}{pace}",
            highlight=False,
            soft_wrap=True,
        )
