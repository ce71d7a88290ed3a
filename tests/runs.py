"""Runs that tests kill: what makes two runs one, and a server whose every life is a process of its own."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np

from lopgym.record import RunFolder, repeatable
from lopgym.store import Saved, newest
from lopgym.studies.run import Run
from tests.stored import same

APART = {"time", "files", "TensorBoardSink"}  # measured, or of files whose lengths hold measured times
KILLED = -signal.SIGKILL
ROOT = Path(__file__).parents[1]
_LONGEST = 120.0  # s that a life may take
_LATE = (  # what training imports on its way
    "gymnasium.envs.box2d.lunar_lander",
    "gymnasium.envs.mujoco.hopper_v5",
    "torch._dynamo",
    "torch.utils.tensorboard",
)
_TAIL = 1 << 16  # bytes of a file of lines that hold its last whole line


def apart(left: Any, right: Any, where: str = "") -> Iterator[str]:
    """Yield the places at which two trees differ by a bit."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in {*left, *right} - APART:
            yield from apart(left.get(key), right.get(key), f"{where}/{key}")
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple) and len(left) == len(right):
        for index, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from apart(one, other, f"{where}/{index}")
    elif isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        if (left.dtype, left.shape, left.tobytes()) != (right.dtype, right.shape, right.tobytes()):
            yield where
    elif not same(left, right) and not where.endswith("/t"):  # an episode's seconds
        yield where


def assert_same(one: Run, other: Run) -> None:
    """Hold all that two runs recorded, kept on the way and kept last to be equal, measured times apart."""
    lines = zip_longest(repeatable(one.folder.metrics), repeatable(other.folder.metrics))
    assert next((pair for pair in lines if pair[0] != pair[1]), None) is None
    assert [*apart(_kept(one.folder), _kept(other.folder))] == []
    mine, theirs = (last(run.folder) for run in (one, other))
    assert mine.step == theirs.step
    assert [*apart(mine.tree, theirs.tree)] == []


def last(folder: RunFolder) -> Saved:
    """Return the newest checkpoint of a run; that, and each other one that is there, can be read."""
    saved, skipped = newest(folder.checkpoints)
    assert skipped == []
    assert saved is not None
    return saved


def _kept(folder: RunFolder) -> dict[str, Any]:
    """Return the networks at the ends of tasks, and the singular values."""
    kept: dict[str, Any] = {}
    for path in folder.checkpoints.glob("*.npz"):
        with np.load(path) as arrays:
            kept[path.name] = {name: arrays[name] for name in arrays.files}
    return kept | {"spectra": folder.spectra.read_text() if folder.spectra.exists() else ""}


def reached(metrics: Path) -> int:
    """Return the step of the last whole line of a run, 0 if there is none."""
    try:
        with metrics.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            steps = re.findall(rb'^\{"step": (\d+).*\}\n', file.read(), re.MULTILINE)
    except FileNotFoundError:
        return 0
    return int(steps[-1]) if steps else 0


class Lives:
    """A server that has imported everything, trained nothing and has one thread; each life is a fork of it.

    A life is a process of its own, killed as one, that begins as a fresh interpreter does after its imports, which it
    is spared. It knows nothing of the lives before it.
    """

    def __init__(self, log: Path) -> None:
        """Start the server; what lives say goes to the file `log`."""
        self.log = log
        command = [sys.executable, "-c", "from tests.runs import serve; serve()"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        with log.open("a") as said:
            self._server = subprocess.Popen(
                command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env=environment
            )

    def __enter__(self) -> Self:
        """Serve."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self._server.communicate(timeout=2 * _LONGEST)

    def live(self, config: Mapping[str, Any], **death: Any) -> int:
        """Let the run of a plain `config` begin, or go on, in a process; return its exit code, `KILLED` if it was.

        Args:
            config: as `Config.plain` says it.
            death: none: it lives to the end. `metrics`, `step`, `wait`: it is killed `wait` seconds after the run that
                writes the file `metrics` has recorded `step`. `stage`, `step`: it kills itself when the first
                checkpoint at or behind `step` is at this stage of saving.
        """
        assert self._server.stdin
        assert self._server.stdout
        print(json.dumps({"config": config, "log": str(self.log)} | death), file=self._server.stdin, flush=True)
        answer = self._server.stdout.readline()
        assert answer, self.log.read_text()
        return int(answer)


def serve() -> None:
    """Read orders, one a line, and answer each with what became of the life that it asked for."""
    _warm_up()
    for line in sys.stdin:
        assert len(os.listdir("/proc/self/task")) == 1
        print(_life(json.loads(line)), flush=True)


def _warm_up() -> None:
    """Import what runs import only when they need it."""
    for name in _LATE:
        importlib.import_module(name)
    importlib.import_module("lopgym.studies.config").model()


def _life(order: Mapping[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        _train(order)
    return _watch(child, _due(order), order.get("wait", 0.0))


def _train(order: Mapping[str, Any]) -> NoReturn:
    """Be a life."""
    from lopgym.studies import checkpointing
    from lopgym.studies.compose import from_plain
    from lopgym.studies.run import execute

    code = 1
    try:
        log = os.open(order["log"], os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if "stage" in order:
            vars(checkpointing)["save"] = partial(_save_and_die, order["stage"], order["step"])
        execute(from_plain(order["config"]))
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _save_and_die(stage: str, step: int, root: Path, at: int, tree: Any, **options: Any) -> Path:
    from lopgym.store import save

    def announce(now: str) -> None:
        if now == stage and at >= step:
            os.kill(os.getpid(), signal.SIGKILL)

    return save(root, at, tree, announce=announce, **options)


def _due(order: Mapping[str, Any]) -> Callable[[], bool]:
    """Return what says whether it is time to kill."""
    if "metrics" not in order:
        return lambda: False
    return lambda: reached(Path(order["metrics"])) >= order["step"]


def _watch(child: int, due: Callable[[], bool], wait: float) -> int:
    end = time.monotonic() + _LONGEST
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if due():
            time.sleep(wait)
            break
        if time.monotonic() > end:
            print(f"still alive after {_LONGEST:.0f} s", file=sys.stderr, flush=True)
            break
        time.sleep(0.003)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
