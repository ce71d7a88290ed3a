"""Parallel: several runs side by side, each in a process of its own, one that dies told by name."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from lopgym.studies.lifeline import PATIENCE, die_with_parent
from lopgym.studies.progress import Progress, Watcher
from lopgym.studies.termination import Terminated, terminable

Work = Callable[[dict[str, Any], Watcher], Any]

SILENCE = 3600.0  # s without a word after which a worker counts as hung: long looks into a network say nothing
_PRELOAD = ["torch", "torch._dynamo", "stable_baselines3"]  # once, by the server that forks the workers: 3 s a run
_TICK = 1.0  # s between two looks at who is silent
_LEAVE = 10.0  # s that a worker has for ending after its last word
_HURRY = 2.0  # s that one has, twice, that was silent for long or does not leave


@dataclass
class RunsFailed(Exception):  # noqa: N818  an error in its name would say no more
    """Some runs failed; the others were finished.

    Args:
        reasons: label -> what happened, one line.
        tracebacks: label -> traceback, for those that raised.
        done: label -> result, for those that did not fail.
    """

    exit_code = 1

    reasons: dict[str, str]
    tracebacks: dict[str, str] = field(default_factory=dict)
    done: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Name every run that failed and say why, in one line."""
        return "; ".join(f"run {label!r} failed: {reason}" for label, reason in self.reasons.items())


def run_config(plain: dict[str, Any], report: Watcher) -> Any:
    """Validate a plain config and execute it: the work of one process."""
    import torch

    from lopgym.studies.compose import from_plain
    from lopgym.studies.run import execute

    torch.set_num_threads(1)
    return execute(from_plain(plain), on_progress=report)


def run_all(
    configs: Mapping[str, dict[str, Any]],
    workers: int,
    on_progress: Watcher = lambda now: None,
    *,
    work: Work = run_config,
    silence: float = SILENCE,
) -> dict[str, Any]:
    """Do `work(config, report)` for every config, at most `workers` at once, and return what it returned, by label.

    The processes come from a fork server that has imported torch once, where the system has one. Ctrl-C, or any
    exception in `on_progress`, ends them all, and so does the end of this process, of whatever kind.

    Args:
        configs: label -> plain config; labels replace those in the progress that `work` reports.
        workers: processes at once.
        on_progress: called in this process, in the order of arrival.
        work: importable function; its result must be picklable.
        silence: seconds without a report after which a process counts as hung and is ended; those in which this process
            was stopped itself, as by Ctrl-Z, do not count.

    Raises:
        RunsFailed: some raised, died or hung; the others were finished first.
        ValueError: `workers` is below 1.
    """
    if workers < 1:
        raise ValueError(f"workers={workers} must be at least 1")
    pool = _Pool(_context(), work, on_progress, silence)
    waiting = list(configs.items())
    try:
        while waiting or pool.running:
            while waiting and len(pool.running) < workers:
                pool.start(*waiting.pop(0))
            pool.listen()
    finally:
        pool.end()
    if pool.outcome.reasons:
        raise pool.outcome
    return {label: pool.outcome.done[label] for label in configs}


def _context() -> BaseContext:
    """Return the fork server, warmed up, or spawning where there is none (never fork: it copies locks and threads)."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    return context


@dataclass
class _Running:
    """A process at work."""

    label: str
    process: BaseProcess
    heard: float  # when it last said something, by the clock of its pool


class _Pool:
    """The running processes, each with a pipe of its own: one that is killed cannot jam the others."""

    def __init__(self, context: BaseContext, work: Work, on_progress: Watcher, silence: float) -> None:
        self.context, self.work, self.on_progress, self.silence = context, work, on_progress, silence
        self.running: dict[Connection, _Running] = {}
        self.outcome = RunsFailed({})
        self._clock = 0.0  # s that this process has listened

    def start(self, label: str, config: dict[str, Any]) -> None:
        """Begin one run."""
        ours, theirs = self.context.Pipe(duplex=False)
        process = self.context.Process(target=_worker, args=(theirs, self.work, config), name=label, daemon=True)  # type: ignore[attr-defined]  # typeshed: missing on the base class
        process.start()
        theirs.close()  # or the end of the process would not end the pipe
        self.running[ours] = _Running(label, process, self._clock)

    def listen(self) -> None:
        """Wait for a moment until some run has something to say, hear all that do, and give up those long silent."""
        began = time.monotonic()
        ready = wait(list(self.running), timeout=_TICK)
        self._clock += min(time.monotonic() - began, 2 * _TICK)  # it was longer? Then this process was stopped
        for pipe in ready:
            assert isinstance(pipe, Connection)
            self._hear(pipe, self.running[pipe])
        for pipe, run in [*self.running.items()]:
            if self._clock - run.heard > self.silence:
                self._settle(pipe, _Hung(self.silence), patience=0.0)

    def end(self) -> None:
        """Stop whatever still runs."""
        _stop(run.process for run in self.running.values())

    def _hear(self, pipe: Connection, run: _Running) -> None:
        try:
            message = pipe.recv()
        except (EOFError, OSError):  # the latter: in the middle of a word
            message = _Died()
        if isinstance(message, Progress):
            run.heard = self._clock
            self.on_progress(replace(message, label=run.label))
            return
        self._settle(pipe, message, patience=_LEAVE)

    def _settle(self, pipe: Connection, message: _Done | _Raised | _Died | _Hung, patience: float) -> None:
        """Keep the last word of a run, and see its process end."""
        run = self.running.pop(pipe)
        pipe.close()
        run.process.join(patience)
        if run.process.is_alive():
            _stop([run.process], _HURRY)
        message.settle(self.outcome, run.label, run.process.exitcode)


@dataclass(frozen=True)
class _Done:
    result: Any

    def settle(self, outcome: RunsFailed, label: str, exitcode: int | None) -> None:
        outcome.done[label] = self.result


@dataclass(frozen=True)
class _Raised:
    reason: str
    trace: str

    def settle(self, outcome: RunsFailed, label: str, exitcode: int | None) -> None:
        outcome.reasons[label], outcome.tracebacks[label] = self.reason, self.trace


@dataclass(frozen=True)
class _Died:
    def settle(self, outcome: RunsFailed, label: str, exitcode: int | None) -> None:
        code = exitcode or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        outcome.reasons[label] = f"its process ended without a word ({how})"


@dataclass(frozen=True)
class _Hung:
    seconds: float

    def settle(self, outcome: RunsFailed, label: str, exitcode: int | None) -> None:
        outcome.reasons[label] = f"it said nothing for {self.seconds:g} s, and was ended"


def _worker(pipe: Connection, work: Work, config: dict[str, Any]) -> None:
    """Live in the child. Ctrl-C is the parent's to handle; if the parent is gone, so is the child."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with terminable():  # the run says in its folder that it was cut short
            message: _Done | _Raised = _Done(work(config, pipe.send))
    except BrokenPipeError:
        return
    except Terminated:
        os.kill(os.getpid(), signal.SIGTERM)  # and the process ends as one that was killed
    except Exception as error:  # whatever it is, the parent names the run and the reason
        message = _Raised(_one_line(error), traceback.format_exc())
    pipe.send(message)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _stop(processes: Iterable[BaseProcess], patience: float = PATIENCE) -> None:
    """Ask the processes to end, wait a little, ask again, which is not to wait for a good moment, and insist."""
    processes = list(processes)
    for ask in (BaseProcess.terminate, BaseProcess.terminate, BaseProcess.kill):
        for process in processes:
            ask(process)
        for process in processes:
            process.join(patience)
