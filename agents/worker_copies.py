"""Copies of a world in processes of their own: one that is killed, hangs or raises is told by its number, in time."""

from __future__ import annotations

import queue
import signal
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv

PATIENCE = 20.0  # s; an answer takes milliseconds, the first reset of a large simulator some seconds
_GRACE = 3.0  # s that copies have for closing what they hold, after one of them has failed
_REASON = 2.0  # s until the reason of a failure has come, which takes a way of its own


class CopyFailed(RuntimeError):  # noqa: N818  an error in its name would say no more
    """One of several copies of a world was killed, hung or raised; the others have been ended."""


def answering(venv: gym.vector.VectorEnv[Any, Any, Any], patience: float) -> WorkerCopies | None:
    """Let the copies of `venv` that are processes answer within `patience` seconds, or fail by name.

    Gymnasium would wait for ever for one that hangs, and tell of one that died that a file has ended.

    Returns:
        What ends them, None if the copies are no processes.
    """
    inner = venv.unwrapped
    return WorkerCopies(inner, patience) if isinstance(inner, AsyncVectorEnv) else None


class WorkerCopies:
    """The processes of an `AsyncVectorEnv`, whose pipes it takes over.

    Args:
        venv: the vector environment.
        patience: seconds that each answer may take.
    """

    def __init__(self, venv: AsyncVectorEnv[Any, Any], patience: float) -> None:
        """Stand between the vector environment and its copies."""
        self._venv, self.patience = venv, patience
        bare = [pipe.bare if isinstance(pipe, _Pipe) else pipe for pipe in venv.parent_pipes]
        self._pipes = [_Pipe(pipe, copy, self) for copy, pipe in enumerate(bare) if pipe is not None]
        venv.parent_pipes = [*self._pipes]  # type: ignore[list-item]  # they do what those do

    def end(self, grace: float) -> None:
        """Let every copy close, and kill those that have not after `grace` seconds. There is no step after that."""
        if self._venv.closed:
            return
        self._venv.closed = True
        for pipe in self._pipes:
            pipe.farewell()
        until = time.monotonic() + grace
        for process in self._venv.processes:
            process.join(max(0.0, until - time.monotonic()))
        _kill(self._venv.processes)
        for pipe in self._pipes:
            pipe.bare.close()

    def lost(self, copy: int) -> CopyFailed:
        """Return the failure of a copy whose pipe has ended."""
        process = self._venv.processes[copy]
        process.join(_GRACE)
        return self._failed(copy, f"ended without a word{_how(process.exitcode)}")

    def hung(self, copy: int) -> CopyFailed:
        """Return the failure of a copy that does not answer."""
        _kill([self._venv.processes[copy]])
        return self._failed(copy, f"said nothing for {self.patience:g} s, and was ended")

    def raised(self, copy: int) -> CopyFailed:
        """Return the failure of a copy that said that it raised, caused by what it raised."""
        try:
            copy, kind, value, trace = self._venv.error_queue.get(timeout=_REASON)
        except queue.Empty:  # what it raised cannot be pickled
            return self._failed(copy, "raised what it cannot tell")
        except Exception as error:  # what it raised cannot be unpickled; whatever that meets, the copy is told
            return self._failed(copy, f"raised what cannot be told here: {error!r}")
        failure = self._failed(copy, f"raised {kind.__name__}: {' '.join(str(value).split())}")
        failure.__cause__ = value if isinstance(value, BaseException) else None
        failure.add_note(trace)
        return failure

    def _failed(self, copy: int, how: str) -> CopyFailed:
        self.end(_GRACE)
        return CopyFailed(f"copy {copy} of the {self._venv.num_envs} copies of the world {how}")


class _Pipe:
    """This end of the pipe to one copy: it says whose answer was none.

    An answer has come in time when it begins to. One of more than 16 KiB is sent in pieces (large observations without
    shared memory), and a copy that is stopped between two of them is waited for.
    """

    def __init__(self, bare: Connection, copy: int, copies: WorkerCopies) -> None:
        self.bare, self._copy, self._copies = bare, copy, copies

    def send(self, message: Any) -> None:
        try:
            self.bare.send(message)
        except OSError:
            raise self._copies.lost(self._copy) from None

    def recv(self) -> Any:
        try:
            if not self.bare.poll(self._copies.patience):
                raise self._copies.hung(self._copy)
            answer, well = self.bare.recv()
        except (EOFError, OSError):
            raise self._copies.lost(self._copy) from None
        if not well:
            raise self._copies.raised(self._copy)
        return answer, well

    def farewell(self) -> None:
        """Let the copy close, if it can still hear that; what it says meanwhile is of no use."""
        try:
            self.bare.send(("close", None))
        except OSError:
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bare, name)


def _how(exitcode: int | None) -> str:
    if exitcode is None:
        return ""
    return f" (killed by {signal.Signals(-exitcode).name})" if exitcode < 0 else f" (exit code {exitcode})"


def _kill(processes: Iterable[BaseProcess]) -> None:
    """End processes, stopped ones and deaf ones too."""
    processes = [process for process in processes if process.is_alive()]
    for process in processes:
        process.kill()
    for process in processes:
        process.join(_GRACE)
