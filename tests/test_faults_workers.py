"""Workers that are killed, hang or raise: told by name, in time, and none is left behind."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn
from unittest.mock import Mock

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from lopgym.agents.ppo import ppo
from lopgym.agents.vec_env import GymVecEnv
from lopgym.agents.worker_copies import PATIENCE, CopyFailed
from lopgym.studies import parallel
from lopgym.studies.parallel import RunsFailed, run_all
from lopgym.studies.progress import Progress, Watcher
from tests.living import gone, reads_proc

pytestmark = reads_proc

COPIES, ILL, STEPS = 3, 1, 20  # the copy that falls ill, and when
SECONDS = 30.0  # within which a fault is to be told
SHORT = 5.0  # s of patience in tests that need not wait for what users have; on a busy machine the well need some


# What befalls a worker


class Unspeakable(Exception):  # noqa: N818  no error: what somebody's world raises
    """Cannot be pickled, and so not be told to another process."""

    def __reduce__(self) -> NoReturn:
        """Refuse."""
        raise TypeError("unspeakable")


class Unheard(Exception):  # noqa: N818
    """Can be pickled, and not be unpickled: it is made of two things and says one."""

    def __init__(self, one: int, other: int) -> None:
        """Take two."""
        super().__init__(one)


def _killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _deaf() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(3600)


def _leaving() -> None:
    os._exit(3)


def _raising() -> None:
    raise ValueError("no such\nthing")


def _unspeakable() -> None:
    raise Unspeakable


def _unheard() -> None:
    raise Unheard(1, 2)


FATES = {fate.__name__.strip("_"): fate for fate in (_killed, _stopped, _deaf, _leaving, _raising)}
TOLD = {
    "killed": r"ended without a word \(killed by SIGKILL\)",
    "torn": r"ended without a word \(killed by SIGKILL\)",
    "leaving": r"ended without a word \(exit code 3\)",
    "stopped": r"said nothing for .* s, and was ended",
    "deaf": r"said nothing for .* s, and was ended",
    "raising": "ValueError: no such thing",
    "unspeakable": "raised what it cannot tell",
    "unheard": "raised what cannot be told here: TypeError",
}


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Let other processes import what is here, by name."""
    monkeypatch.syspath_prepend(str(root))


@contextmanager
def in_time() -> Iterator[None]:
    """Hold a block to the seconds within which a fault is to be told, and end what it leaves behind if it is not."""

    def late(number: int, frame: Any) -> NoReturn:
        raise AssertionError(f"nothing was told for {SECONDS:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        for process in multiprocessing.active_children():
            process.kill()


# Copies of a world


class FallsIll(gym.Wrapper[Any, Any, Any, Any]):
    """A world to which something happens in its so-manieth step, or in its reset if that is 0."""

    def __init__(self, env: gym.Env[Any, Any], fate: Callable[[], None], steps: int) -> None:
        """Wrap a world."""
        super().__init__(env)
        self._fate, self._left = fate, steps

    def reset(self, **options: Any) -> Any:
        """Reset."""
        self._befall()
        return super().reset(**options)

    def step(self, action: Any) -> Any:
        """Step."""
        self._left -= 1
        self._befall()
        return super().step(action)

    def _befall(self) -> None:
        if self._left == 0:
            self._fate()


class Closing(gym.Wrapper[Any, Any, Any, Any]):
    """A world that leaves a file when it is closed."""

    def __init__(self, env: gym.Env[Any, Any], left: Path) -> None:
        """Wrap a world."""
        super().__init__(env)
        self._left = left

    def close(self) -> None:
        """Close."""
        self._left.touch()
        super().close()


def _catch() -> gym.Env[Any, Any]:
    return gym.make("lopgym/Catch-v0")


def _ill(fate: Callable[[], None], steps: int) -> gym.Env[Any, Any]:
    return FallsIll(_catch(), fate, steps)


def _copies(fate: Callable[[], None], steps: int = STEPS, context: str = "fork") -> Any:
    makers = [partial(_ill, fate, steps) if copy == ILL else _catch for copy in range(COPIES)]
    return AsyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP, context=context)


def _pids(venv: Any) -> list[int]:
    return [process.pid for process in venv.unwrapped.processes]


def _play(world: GymVecEnv, steps: int = 2 * STEPS) -> None:
    world.reset()
    for _ in range(steps):
        world.step(np.zeros(world.num_envs, dtype=np.int64))


def _sampled(fate: str) -> Any:
    """Leave what takes as long as another, and the same way, to the whole matrix."""
    return pytest.param(fate, marks=pytest.mark.matrix if fate == "deaf" else ())


def _assert_told(fate: str, caught: pytest.ExceptionInfo[CopyFailed], pids: list[int]) -> None:
    """Hold a failure to its copy's number and to one line; nobody is left."""
    assert str(caught.value).startswith(f"copy {ILL} of the {COPIES} copies of the world ")
    caught.match(TOLD[fate])
    assert "\n" not in str(caught.value)
    assert gone(pids, 1.0)


@pytest.mark.fault("F10")
@pytest.mark.parametrize("fate", [*map(_sampled, FATES), "unspeakable", "unheard"])
@pytest.mark.parametrize(
    "steps", [pytest.param(STEPS, id="in a step"), pytest.param(0, id="in a reset", marks=pytest.mark.matrix)]
)
def test_a_copy_that_fails_is_told_by_its_number(fate: str, steps: int) -> None:
    """However it does, in time; the batch is over, and closing it again does no harm."""
    venv = _copies({**FATES, "unspeakable": _unspeakable, "unheard": _unheard}[fate], steps)
    pids, world = _pids(venv), GymVecEnv(venv, patience=SHORT)
    with in_time(), pytest.raises(CopyFailed) as caught:
        _play(world)
    _assert_told(fate, caught, pids)
    world.close()
    with pytest.raises(gym.error.ClosedEnvironmentError):
        world.reset()


@pytest.mark.fault("F10")
@pytest.mark.matrix
@pytest.mark.parametrize("context", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("fate", FATES)
def test_training_ends_with_the_number_of_the_copy_that_failed(fate: str, context: str) -> None:
    """By whatever way the copies were started, under a wrapper too, and with the patience that users have."""
    venv = _copies(FATES[fate], context=context)
    patience = PATIENCE if context == "fork" else 2 * SHORT
    pids, world = _pids(venv), GymVecEnv(gym.wrappers.vector.ClipReward(venv, -1.0, 1.0), patience=patience)
    agent = ppo(world, n_steps=16, batch_size=16)
    with in_time(), pytest.raises(CopyFailed) as caught:
        agent.learn(200)
    _assert_told(fate, caught, pids)


def test_what_a_copy_raised_is_the_cause() -> None:
    """With its traceback in that process."""
    with pytest.raises(CopyFailed) as caught:
        _play(GymVecEnv(_copies(_raising)))
    assert isinstance(caught.value.__cause__, ValueError)
    assert "in _raising" in "".join(caught.value.__notes__)


def test_a_copy_that_was_killed_between_two_steps_is_told() -> None:
    """The next step cannot be asked of it."""
    venv = _copies(_killed, steps=-1)
    pids, world = _pids(venv), GymVecEnv(venv)
    _play(world, 3)
    os.kill(pids[ILL], signal.SIGKILL)
    assert gone(pids[ILL : ILL + 1])
    with pytest.raises(CopyFailed) as caught:
        _play(world, 3)
    _assert_told("killed", caught, pids)


def test_copies_in_processes_are_those_of_one_process() -> None:
    """What stands between them and the batch changes nothing, and a batch may be wrapped again."""
    makers = [_catch] * COPIES
    apart: Any = AsyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP, context="fork")
    GymVecEnv(apart, patience=0.0)  # replaced by the next
    worlds = [GymVecEnv(venv, seed=3) for venv in (apart, SyncVectorEnv(makers, autoreset_mode="SameStep"))]
    assert np.array_equal(*(world.reset() for world in worlds))
    for actions in np.random.default_rng(0).integers(0, 3, (40, COPIES)):
        (seen, earned, done, _), others = (world.step(actions) for world in worlds)
        assert all(map(np.array_equal, (seen, earned, done), others))
    for world in worlds:
        world.close()
    assert gone(_pids(apart), 1.0)


@pytest.mark.parametrize("pending", [False, True])
def test_copies_close_what_they_hold(tmp_path: Path, pending: bool) -> None:
    """When the batch is closed, in the middle of a step too; Gymnasium would wait for its answers."""
    files = [tmp_path / str(copy) for copy in range(COPIES)]
    makers = [partial(Closing, _catch(), file) for file in files]
    venv: Any = AsyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP, context="fork")
    world = GymVecEnv(venv)
    _play(world, 3)
    if pending:
        venv.step_async(np.zeros(COPIES, dtype=np.int64))
        venv.parent_pipes[0].recv()  # and then Ctrl-C
    world.close()
    assert all(file.exists() for file in files)
    assert gone(_pids(venv), 1.0)


@pytest.mark.fault("F10")
@pytest.mark.matrix
def test_copies_do_not_outlive_a_trainer_that_is_killed(tmp_path: Path) -> None:
    """It can tell them nothing any more; they see that it is gone."""
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); from tests import test_faults_workers as t; "
        "venv = t._copies(t._killed, -1); world = t.GymVecEnv(venv); world.reset(); "
        "print(*t._pids(venv), flush=True); time.sleep(600)"
    )
    root = str(Path(__file__).parents[1])
    with subprocess.Popen([sys.executable, "-c", script, root], stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout is not None
        pids = [int(pid) for pid in trainer.stdout.readline().split()]
        trainer.kill()
    assert len(pids) == COPIES
    assert gone(pids)


# Runs side by side


def _tear(report: Watcher) -> None:
    """Die in the middle of a word, whose end the parent waits for."""
    pipe: Any = report.__self__  # type: ignore[attr-defined]
    os.write(pipe.fileno(), struct.pack("!i", 1000) + b"half")
    _killed()


def _linger() -> None:
    """Never end, though all is said."""
    threading.Thread(target=time.sleep, args=(3600,)).start()


def job(config: dict[str, Any], report: Watcher) -> int:
    """Say who works here, and do what befalls it."""
    Path(config["pid"]).write_text(str(os.getpid()))
    report(Progress("", 0, 1, 1, 2, 0.0))
    if config["fate"] == "torn":
        _tear(report)
    FATES.get(config["fate"], lambda: None)()
    if config["fate"] == "lingering":
        _linger()
    return int(config["number"])


def _configs(fate: str, folder: Path) -> dict[str, dict[str, Any]]:
    fates = {"first": "well", "ill": fate, "last": "well"}
    return {
        label: {"fate": what, "pid": str(folder / label), "number": number}
        for number, (label, what) in enumerate(fates.items())
    }


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork workers from this process: the server that usually does imports for seconds first."""
    monkeypatch.setattr(parallel, "_context", lambda: multiprocessing.get_context("fork"))


def _assert_told_of_a_run(fate: str, folder: Path, silence: float) -> None:
    """Let one of three runs meet its fate, and see it told in time, the others finished, and nobody left."""
    with pytest.raises(RunsFailed) as caught:
        run_all(_configs(fate, folder), 3, work=job, silence=silence)
    assert time.time() - (folder / "ill").stat().st_mtime < SECONDS
    assert caught.value.done == {"first": 0, "last": 2}
    assert [*caught.value.reasons] == ["ill"]
    assert re.search(TOLD[fate].replace("ended without", "its process ended without"), caught.value.reasons["ill"])
    assert str(caught.value).startswith("run 'ill' failed: ")
    assert gone([int(file.read_text()) for file in folder.iterdir()], 1.0)


@pytest.mark.fault("F10")
@pytest.mark.parametrize("fate", ["killed", "raising", "torn"])
def test_a_forked_run_that_fails_is_told_by_its_label(fate: str, tmp_path: Path, forked: None) -> None:
    """At once; the others are finished."""
    with in_time():
        _assert_told_of_a_run(fate, tmp_path, parallel.SILENCE)


@pytest.mark.fault("F10")
@pytest.mark.matrix
@pytest.mark.parametrize("fate", [*FATES, "torn"])
def test_a_run_that_fails_is_told_by_its_label(fate: str, tmp_path: Path) -> None:
    """However it does; the others are finished. A worker says its first word when it has imported all it needs."""
    silence = SECONDS / 2 if fate in ("stopped", "deaf") else parallel.SILENCE
    run_all(_configs("well", tmp_path), 3, work=job)
    _assert_told_of_a_run(fate, tmp_path, silence)


@pytest.mark.fault("F10")
@pytest.mark.matrix
def test_a_worker_that_does_not_end_is_ended(tmp_path: Path, forked: None) -> None:
    """All was said, so it has not failed."""
    with in_time():
        assert run_all(_configs("lingering", tmp_path), 2, work=job) == {"first": 0, "ill": 1, "last": 2}
    assert gone([int(file.read_text()) for file in tmp_path.iterdir()], 1.0)


def test_time_in_which_the_listener_was_stopped_itself_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-Z and `fg`, nobody was silent; one that stays silent while it listens is ended."""
    clock = iter(range(0, 10**6, 1000))
    monkeypatch.setattr(parallel, "wait", lambda pipes, timeout: [])
    monkeypatch.setattr(parallel, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    process = Mock(is_alive=lambda: False, exitcode=-9)
    pool = parallel._Pool(multiprocessing.get_context("fork"), job, lambda now: None, silence=10.0)
    pool.running[Mock()] = parallel._Running("a", process, 0.0)
    for _ in range(5):  # each a thousand seconds long, of which two count
        pool.listen()
    assert [run.label for run in pool.running.values()] == ["a"]
    pool.listen()
    assert pool.outcome.reasons == {"a": "it said nothing for 10 s, and was ended"}
