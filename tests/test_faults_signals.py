"""Signals in every phase of a run: its exit code, one line for each, the last good checkpoint, and the run goes on."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lopgym.record import RunFolder
from lopgym.store import newest
from lopgym.studies import cli
from lopgym.studies.compose import from_keywords
from lopgym.studies.progress import Progress
from lopgym.studies.run import Run, execute, run_path
from lopgym.studies.termination import ECHO, Terminated, stoppable, terminable
from tests.living import CutOff
from tests.runs import assert_same

LONGEST = 240.0  # s that a command may take
EVERY = 40  # env steps between two checkpoints
SMALL: dict[str, Any] = {
    "tasks": 3,
    "steps_per_task": 80,
    "probe_every": 40,
    "report_every": 40,
    "agent.learning_starts": 20,
    "evaluation.every": 80,
    "evaluation.episodes": 2,
    "checkpoint.every": EVERY,
    "variant": "struck",
}

# The command `lopgym`, which says through a pipe that it is in the middle of a phase, and waits there for a word.
HERALD = """
import functools, importlib, os, signal, sys

phase, after, say, go, words = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
signal.signal(signal.SIGHUP, signal.SIG_DFL)

def herald():
    os.write(say, b".")
    os.read(go, 1)

def announced(function, counts=lambda *of, **options: True):
    calls = 0
    @functools.wraps(function)
    def called(*of, **options):
        nonlocal calls
        calls += counts(*of, **options)
        if calls == after and counts(*of, **options):
            herald()
        return function(*of, **options)
    return called

class Imports:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            sys.meta_path.remove(self)
            herald()

def patch(module, where, name, *counts):
    owner = importlib.import_module(module)
    for part in filter(None, where.split(".")):
        owner = getattr(owner, part)
    setattr(owner, name, announced(getattr(owner, name), *counts))

at = {
    "start-up": lambda: sys.meta_path.insert(0, Imports()),
    "rollout": lambda: patch("lopgym.agents.finite_guard", "FiniteGuard", "step_wait"),
    "train": lambda: patch("torch.optim", "Adam", "step"),
    "save": lambda: patch("lopgym.store.writing", "", "_read_back"),
    "eval": lambda: patch("stable_baselines3", "DQN", "predict", lambda *of, deterministic=False: deterministic),
}
at[phase]()
from lopgym.studies.cli import app
app(words, prog_name="lopgym")
"""
AFTER = {"start-up": 1, "rollout": 101, "train": 22, "save": 3, "eval": 5}  # the how-manieth of its calls is announced
# Steps of the last checkpoint before it, and of the one at the boundary after it.
KEPT = {"start-up": 80, "rollout": 80, "train": 40, "save": 80, "eval": 40}
BOUNDARY = {"start-up": 80, "rollout": 101, "train": 42, "save": 120, "eval": 80}
STRIKES: dict[str, tuple[tuple[signal.Signals, ...], int]] = {
    "SIGTERM": ((signal.SIGTERM,), 143),
    "SIGINT": ((signal.SIGINT,), 130),
    "SIGINT twice": ((signal.SIGINT, signal.SIGINT), 130),
    "SIGHUP": ((signal.SIGHUP,), 143),
}
ERRORS = {143: "error: terminated", 130: "error: interrupted"}


def _config(runs: Path) -> Any:
    return from_keywords("catch_dqn", runs_dir=str(runs), **SMALL)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing struck."""
    return execute(_config(tmp_path_factory.mktemp("straight")))


@contextmanager
def _heralded(phase: str, words: Sequence[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the command until it says that it is in `phase`; yield it, and the pipe by which it is let go on."""
    hear, say = os.pipe()
    wait, go = os.pipe()
    arguments = [phase, str(AFTER[phase]), str(say), str(wait), *words]
    process = subprocess.Popen(
        [sys.executable, "-c", HERALD, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=(say, wait),
    )
    os.close(say)
    os.close(wait)
    late = threading.Timer(LONGEST, process.kill)
    late.start()
    try:
        told = os.read(hear, 1)
        assert told == b".", f"{phase} was not reached: {process.communicate()}"
        yield process, go
    finally:
        late.cancel()
        process.kill()
        process.communicate()
        os.close(hear)
        os.close(go)


def _struck(phase: str, strikes: Sequence[signal.Signals], words: Sequence[str]) -> tuple[int, str, list[str]]:
    """Strike the command in the middle of `phase`; return its exit code, its output and its lines of errors."""
    with _heralded(phase, words) as (process, go):
        assert process.stderr is not None
        process.send_signal(strikes[0])
        heard = process.stderr.readline()  # all there is so far: it waits, or is on its way out
        for strike in strikes[1:]:
            time.sleep(1.5 * ECHO)
            process.send_signal(strike)
        with suppress(BrokenPipeError):  # it has ended
            os.write(go, b".")
        out, said = process.communicate()
    return _as_shells_tell(process.returncode), out, [heard.rstrip(), *said.splitlines()]


def _as_shells_tell(code: int) -> int:
    """Return 128 + the signal for a process that one ended: a second Ctrl-C may come when Python is on its way out."""
    return code if code >= 0 else 128 - code


def _begin(config: Any) -> None:
    """Train until somewhere behind the checkpoint of step 80, for a start-up to go on from."""

    def watch(now: Progress) -> None:
        if now.step > KEPT["start-up"] + EVERY // 2:
            raise CutOff

    with pytest.raises(CutOff):
        execute(config, on_progress=watch)


def _debris(folder: Path) -> list[str]:
    """Name what has no business in the folder of a run that has ended: half files, empty ones, locks."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.name.startswith(".") or path.name == "run.lock" or (path.is_file() and not path.stat().st_size)
    ]


def _said(phase: str, kind: str, path: Path) -> list[str]:
    """Return the lines that the command has to say, in order."""
    strikes, code = STRIKES[kind]
    if phase == "start-up":  # nothing has begun that could go on
        return [ERRORS[code]]
    asked = f"{strikes[0].name}: stops at the next moment from which it can go on; once more: at once"
    return [asked, f"goes on with: lopgym resume {shlex.quote(str(path))}", ERRORS[code]]


def _strike(phase: str, kind: str, straight: Run, runs: Path) -> None:
    """Strike a run, look at what is left, and let it go on to its end."""
    config, (strikes, code) = _config(runs), STRIKES[kind]
    folder = RunFolder(run_path(config))
    if phase == "start-up":
        _begin(config)
    words = [f"{key}={value}" for key, value in SMALL.items()]
    *ended, lines = _struck(phase, strikes, ["train", "study=catch_dqn", f"runs_dir={runs}", *words, "--quiet"])
    if phase == "start-up" and len(strikes) > 1:  # the first one ends it; Python on its way out tells of one more
        del lines[1:]
    assert (*ended, lines) == (code, "", _said(phase, kind, folder.path))
    saved, skipped = newest(folder.checkpoints)
    assert saved is not None
    assert skipped == []
    assert saved.step == (KEPT if len(strikes) > 1 else BOUNDARY)[phase]
    assert _debris(folder.path) == []
    if phase != "start-up":
        assert json.loads(folder.about.read_text())["status"] == "interrupted"
    went_on = CliRunner().invoke(cli.app, ["resume", str(folder.path), "--quiet"])
    assert (went_on.exit_code, went_on.stdout) == (0, f"{folder.path}\n")
    assert_same(Run(folder.path), straight)


FAST = {"train": "SIGTERM"}
SLOW = {"start-up": "SIGHUP", "rollout": "SIGINT twice", "save": "SIGINT", "eval": "SIGTERM"}  # the rest: the matrix


def _case(phase: str, kind: str) -> Any:
    tiers = [] if FAST.get(phase) == kind else [pytest.mark.slow if SLOW.get(phase) == kind else pytest.mark.matrix]
    return pytest.param(phase, kind, marks=tiers, id=f"{kind} in {phase}")


def _hung_up(tidied: list[bool]) -> None:
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(60)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)
        tidied.append(True)


def test_a_terminal_that_goes_is_a_termination_and_what_follows_does_not_cut_tidying_short() -> None:
    """SIGHUP, and SIGTERM after it; then all is as it was, and what is ignored stays so."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    tidied: list[bool] = []
    with pytest.raises(Terminated), terminable():
        _hung_up(tidied)
    assert tidied
    assert {number: signal.getsignal(number) for number in before} == before
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminable():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])


def test_what_goes_on_is_said_when_a_stop_is_over() -> None:
    """And not if it was none."""
    said: list[str] = []
    with stoppable(said.append, go_on="lopgym resume x"):
        pass
    with pytest.raises(KeyboardInterrupt), stoppable(said.append, go_on="lopgym resume x"):
        raise KeyboardInterrupt
    assert said == ["goes on with: lopgym resume x"]


@pytest.mark.fault("F4")
@pytest.mark.parametrize(("phase", "kind"), [_case(phase, kind) for phase in AFTER for kind in STRIKES])
def test_a_signal_ends_a_run_that_then_goes_on(phase: str, kind: str, straight: Run, tmp_path: Path) -> None:
    """At the next boundary, or at once if it is insisted on; bit for bit the one that nothing struck."""
    _strike(phase, kind, straight, tmp_path)
