"""Parallel: several runs side by side, each in a process of its own, one that dies told by name."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from lopgym.studies.lifeline import die_with_parent
from lopgym.studies.progress import Progress, Watcher
from lopgym.studies.termination import Terminated, terminable

Work = Callable[[dict[str, Any], Watcher], Any]

_PRELOAD = ["torch", "torch._dynamo", "stable_baselines3"]  # once, by the server that forks the workers: 3 s a run


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
) -> dict[str, Any]:
    """Do `work(config, report)` for every config, at most `workers` at once, and return what it returned, by label.

    The processes come from a fork server that has imported torch once, where the system has one. Ctrl-C, or any
    exception in `on_progress`, ends them all, and so does the end of this process, of whatever kind.

    Args:
        configs: label -> plain config; labels replace those in the progress that `work` reports.
        workers: processes at once.
        on_progress: called in this process, in the order of arrival.
        work: importable function; its result must be picklable.

    Raises:
        RunsFailed: some raised or died; the others were finished first.
        ValueError: `workers` is below 1.
    """
    if workers < 1:
        raise ValueError(f"workers={workers} must be at least 1")
    pool = _Pool(_context(), work, on_progress)
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


class _Pool:
    """The running processes, each with a pipe of its own: one that is killed cannot jam the others."""

    def __init__(self, context: BaseContext, work: Work, on_progress: Watcher) -> None:
        self.context, self.work, self.on_progress = context, work, on_progress
        self.running: dict[Connection, tuple[str, BaseProcess]] = {}
        self.outcome = RunsFailed({})

    def start(self, label: str, config: dict[str, Any]) -> None:
        """Begin one run."""
        ours, theirs = self.context.Pipe(duplex=False)
        process = self.context.Process(target=_worker, args=(theirs, self.work, config), name=label, daemon=True)  # type: ignore[attr-defined]  # typeshed: missing on the base class
        process.start()
        theirs.close()  # or the end of the process would not end the pipe
        self.running[ours] = (label, process)

    def listen(self) -> None:
        """Wait until some run has something to say, and hear all that do."""
        for pipe in wait(list(self.running)):
            assert isinstance(pipe, Connection)
            self._hear(pipe, *self.running[pipe])

    def end(self) -> None:
        """Stop whatever still runs."""
        _stop(process for _, process in self.running.values())

    def _hear(self, pipe: Connection, label: str, process: BaseProcess) -> None:
        try:
            message = pipe.recv()
        except (EOFError, ConnectionError):
            message = _Died()
        if isinstance(message, Progress):
            self.on_progress(replace(message, label=label))
            return
        pipe.close()
        del self.running[pipe]
        process.join()
        message.settle(self.outcome, label, process.exitcode)


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


def _stop(processes: Iterable[BaseProcess]) -> None:
    """Ask the processes to end, wait a little, ask again, which is not to wait for a good moment, and insist."""
    processes = list(processes)
    for ask in (BaseProcess.terminate, BaseProcess.terminate, BaseProcess.kill):
        for process in processes:
            ask(process)
        for process in processes:
            process.join(timeout=5)
