"""Disks under a real run that are full, forbidden, read-only, failing or taken away: one line, nothing good is lost."""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from lopgym.record import RunFolder, repeatable
from lopgym.store import load, newest
from lopgym.studies import checkpointing, cli
from tests.living import LOPGYM
from tests.stored import same

RUN = (
    "--quiet study=catch_dqn variant=small tasks=2 steps_per_task=160 report_every=40 probes=none "
    "evaluation.every=0 agent.hidden=[8] agent.learning_starts=20 checkpoint.every=80 checkpoint.keep=9"
)
LARGE = RUN.replace("agent.hidden=[8]", "agent.hidden=[64]")  # its checkpoints are larger than all else
ALL = (80, 160, 240, 320)  # steps of its checkpoints
NO_ROOM = "No space left on device"
EVER = range(10**6)
_OPEN = builtins.open


class Device:
    """What holds the files whose paths match: it takes `room` more bytes, then every write fails.

    Files are real and so is the buffering; like a disk's, the last write that finds some room is a short one.
    """

    def __init__(self, match: str, room: int = 0, number: int = errno.ENOSPC) -> None:
        """Fail with errno `number`."""
        self.match, self.room, self.number = match, room, number
        self.refused = 0

    def take(self, data: memoryview) -> memoryview:
        """Return as much of `data` as finds room.

        Raises:
            OSError: nothing does.
        """
        if len(data) and not self.room:
            self.refused += 1
            raise OSError(self.number, os.strerror(self.number))
        taken = data[: self.room]
        self.room -= len(taken)
        return taken

    def open(self, file: Any, mode: str = "r", *how: Any, **options: Any) -> Any:
        """Open as the builtin does."""
        if not isinstance(file, str | os.PathLike) or mode[0] == "r" or not fnmatch(os.fspath(file), self.match):
            return _OPEN(file, mode, *how, **options)
        buffered = io.BufferedWriter(_Raw(os.fspath(file), mode[0], self))
        return buffered if "b" in mode else io.TextIOWrapper(buffered, "utf-8")


class _Raw(io.FileIO):
    """A file on a device."""

    def __init__(self, name: str, mode: str, device: Device) -> None:
        super().__init__(name, mode)
        self._device = device

    def write(self, data: Any) -> int:
        return super().write(self._device.take(memoryview(data).cast("B")))


@contextmanager
def on(device: Device) -> Iterator[Device]:
    """Let a device hold its files while the block runs; it must have refused something by then."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (builtins, io):  # paths open their files by the latter
            patch.setattr(module, "open", device.open)
        yield device
    assert device.refused, "the fault was never met"


def command(*words: object) -> Result:
    """Call the command line in this process."""
    return CliRunner().invoke(cli.app, [*map(str, words)])


def train(runs: Path, run: str = RUN) -> Result:
    """Train the run of these tests, or let it go on."""
    return command("train", *run.split(), f"runs_dir={runs}")


def folder_in(runs: Path) -> RunFolder:
    """Return the folder of the run."""
    return RunFolder(runs / "catch_dqn" / "small" / "seed-0")


def checkpoints_in(runs: Path) -> tuple[int, ...]:
    """Return the steps of the checkpoints that are there, all of which must be whole."""
    there = sorted(folder_in(runs).checkpoints.glob("ckpt-*"))
    steps = tuple(load(path).step for path in there)
    saved, skipped = newest(folder_in(runs).checkpoints)
    assert (saved and saved.step, skipped) == (max(steps, default=None), [])
    return steps


def assert_tidy(runs: Path) -> None:
    """Nothing is torn or empty, but for lines that nobody has written yet; nothing half written, no lock is left."""
    files = [path for path in runs.rglob("*") if path.is_file()]
    assert [path for path in files if not path.stat().st_size and path.name != "metrics.jsonl"] == []
    assert [path for path in runs.rglob("*") if path.name.startswith(".") or path.suffix in {".part", ".lock"}] == []
    config = folder_in(runs).config
    assert not config.exists() or config.read_text().endswith("\n")


def assert_equal(runs: Path, whole: Path) -> None:
    """Hold a run to the one that no disk was in the way of: numbers, network, its optimizer's memory, random state."""
    assert folder_in(runs).finished
    assert repeatable(folder_in(runs).metrics) == repeatable(folder_in(whole).metrics)
    for step in checkpoints_in(runs):
        mine, theirs = (load(folder_in(at).checkpoints / f"ckpt-{step:012d}").tree["parts"] for at in (runs, whole))
        for part in ("policy", "optimizer"):
            assert same(mine["agent"][part], theirs["agent"][part])
        assert same(mine["luck"], theirs["luck"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run lies that no disk was in the way of."""
    runs = tmp_path_factory.mktemp("whole")
    assert train(runs).exit_code == 0
    assert checkpoints_in(runs) == ALL
    return runs


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run lies that ended behind its second checkpoint."""
    runs = tmp_path_factory.mktemp("half")
    with on(Device("*/metrics.jsonl", 2000)):
        assert train(runs).exit_code == 4
    assert checkpoints_in(runs) == ALL[:2]
    return runs


@pytest.fixture
def half(cut_off: Path, tmp_path: Path) -> Path:
    """Where a copy of it lies."""
    return shutil.copytree(cut_off, tmp_path / "runs")


@dataclass(frozen=True)
class Full:
    """A full disk.

    Args:
        match: which files lie on it.
        room: bytes that they find.
        code: how the run ends.
        said: in each line that is told.
        kept: steps of the checkpoints that are there then.
        lines: how many lines are told.
    """

    match: str
    room: int
    code: int
    said: str
    kept: tuple[int, ...]
    lines: int = 1


FULL = {
    "checkpoints, before": Full("*/.tmp-ckpt-*", 0, 6, "checkpoint", (), 5),
    "checkpoints, midway": Full("*/.tmp-ckpt-*", 100_000, 6, "checkpoint", ALL[:1], 4),
    "metrics.jsonl, before": Full("*/metrics.jsonl", 0, 4, "metrics.jsonl", ()),
    "metrics.jsonl, midway": Full("*/metrics.jsonl", 1000, 4, "metrics.jsonl", ALL[:1]),
    "event file, before": Full("*/events.out.*", 0, 0, "TensorBoard shows no more", ALL),
    "event file, midway": Full("*/events.out.*", 9000, 0, "TensorBoard shows no more", ALL),
    "start, before": Full("*/seed-0/*", 0, 4, "run.lock", ()),
    "start, midway": Full("*/seed-0/*", 600, 4, "config.yaml", ()),
    "status, before": Full("*/run.part", 0, 4, "run.json", ()),
    "status, midway": Full("*/run.part", 100, 4, "run.json", ()),
    "weights of a task, before": Full("*/task-0.*", 0, 4, "task-0", ALL[:1]),
    "weights of a task, midway": Full("*/task-0.*", 3000, 4, "task-0", ALL[:1]),
}
AT_ONCE = ["checkpoints, midway", "metrics.jsonl, midway"]  # what the fast tests do


def _fast(name: str, fast: list[str]) -> Any:
    tier = [] if name in fast else [pytest.mark.slow]
    return pytest.param(name, marks=tier, id=name)


@pytest.mark.fault("F5")
@pytest.mark.parametrize("case", [_fast(name, AT_ONCE) for name in FULL])
def test_a_full_disk_loses_nothing_that_was_good(case: str, tmp_path: Path, whole: Path) -> None:
    """It is told, training goes on where it can, and with room again the run ends as if nothing had been."""
    full = FULL[case]
    with on(Device(full.match, full.room)):
        ended = train(tmp_path)
    lines = ended.stderr.splitlines()
    assert (ended.exit_code, len(lines)) == (full.code, full.lines), ended.stderr
    assert all(full.said in line and NO_ROOM in line for line in lines), ended.stderr
    assert [line[:7] for line in lines] == ["warning"] * (full.lines - (full.code > 0)) + ["error: "] * (full.code > 0)
    assert checkpoints_in(tmp_path) == full.kept
    assert_tidy(tmp_path)
    if full.code == 4:
        assert train(tmp_path).exit_code == 0
    assert_equal(tmp_path, whole)


@pytest.mark.fault("F5")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("match", "room"), [("*/seed-0/*", 0), ("*/seed-0/*", 600), ("*/config.*", 0), ("*/run.part", 100)]
)
def test_going_on_upon_a_full_disk_loses_nothing(match: str, room: int, half: Path, whole: Path) -> None:
    """What is there is written again at each start: it stays as it was until the new one is whole."""
    with on(Device(match, room)):
        ended = train(half)
    assert (ended.exit_code, ended.stderr.count("error: ")) == (4, 1), ended.stderr
    assert NO_ROOM in ended.stderr.splitlines()[-1]
    assert checkpoints_in(half) == ALL[:2]
    assert_tidy(half)
    assert train(half).exit_code == 0
    assert_equal(half, whole)


@pytest.mark.fault("F5")
@pytest.mark.matrix
@pytest.mark.parametrize("twentieths", range(20))
def test_wherever_the_room_ends_nothing_good_is_lost(twentieths: int, tmp_path: Path, whole: Path) -> None:
    """All files of a run on one disk, which is full after so many twentieths of what the run writes."""
    files = [path for path in folder_in(whole).path.rglob("*") if path.is_file()]
    with on(Device("*/seed-0/*", sum(path.stat().st_size for path in files) * twentieths // 20)):
        ended = train(tmp_path)
    assert ended.exit_code in {4, 6}, ended.stderr
    assert [line for line in ended.stderr.splitlines() if NO_ROOM not in line] == []
    assert ended.stderr.count("error: ") == 1
    checkpoints_in(tmp_path)
    assert_tidy(tmp_path)
    if not folder_in(tmp_path).finished:
        assert train(tmp_path).exit_code == 0
    assert_equal(tmp_path, whole)


@pytest.mark.fault("F5")
@pytest.mark.slow
def test_a_run_whose_last_checkpoint_the_system_refuses_ends_with_code_6(tmp_path: Path) -> None:
    """The command itself, in a process that the system lets write no file as large as a checkpoint."""
    assert train(tmp_path / "whole", LARGE).exit_code == 0
    most = _between_others_and_checkpoints(folder_in(tmp_path / "whole"))
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most, most))
    words = [LOPGYM, "train", *LARGE.split(), f"runs_dir={tmp_path / 'runs'}"]
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}  # half of which would be found by whoever comes next
    ran = subprocess.run(words, preexec_fn=limit, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 6, ran.stderr
    path = folder_in(tmp_path / "runs").path
    *warnings, last = ran.stderr.splitlines()
    assert [line.split(": ")[1] for line in warnings] == [f"no checkpoint at step {step}" for step in ALL]
    said = f"error: {path} is finished, and its last checkpoint is not written: "
    assert last == f"{said}{path}/checkpoints/ckpt-{ALL[-1]:012d}: File too large"
    assert RunFolder(path).finished
    assert_tidy(tmp_path / "runs")


def _between_others_and_checkpoints(folder: RunFolder) -> int:
    """Return a size that every file of a run has room in, and no checkpoint's arrays have: amid a wide gap."""
    arrays = [path.stat().st_size for path in folder.checkpoints.glob("*/arrays.npz")]
    others = [path.stat().st_size for path in folder.path.rglob("*") if path.is_file() and path.name != "arrays.npz"]
    assert len(arrays) == len(ALL)
    assert 1.5 * max(others) < min(arrays), "an option for more weights makes the gap wider"
    return (max(others) + min(arrays)) // 2


# Disks that refuse otherwise


@contextmanager
def refusing(number: int, match: str, *names: str, which: range = EVER) -> Iterator[None]:
    """Let functions of `os` fail with errno `number` for paths that match, at those calls."""
    calls = iter(EVER)
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setattr(os, name, partial(_refuse, getattr(os, name), number, match, calls, which))
        yield
    assert next(calls) > which[0], "the fault was never met"


def _refuse(
    real: Callable[..., Any],
    number: int,
    match: str,
    calls: Iterator[int],
    which: range,
    path: Any,
    *rest: Any,
    **how: Any,
) -> Any:
    if isinstance(path, str | os.PathLike) and fnmatch(os.fspath(path), match) and next(calls) in which:
        raise OSError(number, os.strerror(number), os.fspath(path))
    return real(path, *rest, **how)


@contextmanager
def taken_away(what: Callable[[Path], Path]) -> Iterator[None]:
    """Delete something behind the first checkpoint; `what` finds it from the folder of checkpoints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpointing, "save", partial(_then_delete, checkpointing.save, what))
        yield


def _then_delete(
    save: Callable[..., Path], what: Callable[[Path], Path], root: Path, step: int, *a: Any, **k: Any
) -> Any:
    done = save(root, step, *a, **k)
    if step == ALL[0]:
        gone = what(root)
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    return done


class Remounted(Device):
    """What holds the runs: when it has taken `room` bytes, it can only be read, as a disk that has erred.

    No file of it can be written any more, be it open, and none is made, moved or deleted.
    """

    def __init__(self, room: int) -> None:
        """Be writable, so far."""
        super().__init__("*/runs/*", room, errno.EROFS)

    def open(self, file: Any, mode: str = "r", *how: Any, **options: Any) -> Any:
        """Open as the builtin does; what can only be read, for reading."""
        if mode[0] != "r" or "+" in mode:
            self.hold(file)
        return super().open(file, mode, *how, **options)

    def open_as_os(self, real: Callable[..., int], path: Any, flags: int, *how: Any, **options: Any) -> int:
        """Open as `os.open` does."""
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self.hold(path)
        return real(path, flags, *how, **options)

    def change(self, real: Callable[..., Any], path: Any, *rest: Any, **how: Any) -> Any:
        """Do what a function of `os` does that changes folders."""
        self.hold(path, how.get("dir_fd"))
        return real(path, *rest, **how)

    def hold(self, path: Any, folder: int | None = None) -> None:
        """Refuse to change what is at a path, or below an open folder: only `rmtree` names it so, and only on here.

        Raises:
            OSError: this can only be read.
        """
        here = isinstance(path, str | os.PathLike) and fnmatch(os.fspath(path), self.match)
        if not self.room and (here or folder is not None):
            self.refused += 1
            raise OSError(self.number, os.strerror(self.number), os.fspath(path))


@contextmanager
def remounted(room: int) -> Iterator[None]:
    """Let the runs lie where nothing can be written when `room` bytes have been."""
    disk = Remounted(room)
    with on(disk), pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", partial(disk.open_as_os, os.open))
        for name in ("mkdir", "rename", "replace", "unlink", "remove", "rmdir", "truncate"):
            patch.setattr(os, name, partial(disk.change, getattr(os, name)))
        yield


@dataclass(frozen=True)
class Refused:
    """A disk that refuses.

    Args:
        how: makes it so while a run is trained.
        code: how that ends.
        said: in the last line that is told.
    """

    how: Callable[[], AbstractContextManager[Any]]
    code: int
    said: str


NO_PERMISSION, READ_ONLY, ERRS = errno.EACCES, errno.EROFS, errno.EIO
REFUSED = {
    "a disk that can only be read, before": Refused(
        partial(refusing, READ_ONLY, "*/runs/*", "mkdir", "open", "rename", "replace", "unlink"),
        4,
        "Read-only file system",
    ),
    "no permission to make the folder": Refused(
        partial(refusing, NO_PERMISSION, "*/catch_dqn*", "mkdir"), 4, "Permission denied: '{path}'"
    ),
    "no permission for checkpoints, midway": Refused(
        partial(refusing, NO_PERMISSION, "*/.tmp-ckpt-*", "mkdir", which=EVER[1:]), 6, "Permission denied (.tmp-"
    ),
    "a device that errs at metrics.jsonl": Refused(
        lambda: on(Device("*/metrics.jsonl", 1000, ERRS)), 4, "Input/output error: '{path}/metrics.jsonl'"
    ),
    "a device that errs at checkpoints": Refused(
        lambda: on(Device("*/.tmp-ckpt-*", 100_000, ERRS)), 6, "ckpt-000000000320: Input/output error"
    ),
    "checkpoints taken away": Refused(partial(taken_away, lambda root: root), 4, "No such file or directory: '{path}/"),
    "the run taken away": Refused(
        partial(taken_away, lambda root: root.parent), 4, "No such file or directory: '{path}/"
    ),
}
REFUSED_FAST = ["the run taken away"]


@pytest.mark.fault("F6")
@pytest.mark.parametrize("case", [_fast(name, REFUSED_FAST) for name in REFUSED])
def test_a_disk_that_refuses_is_told_in_a_line(case: str, tmp_path: Path, whole: Path) -> None:
    """By the system's reason, and where; what is there is whole, and with the fault gone the run ends as it should."""
    (tmp_path / "runs").mkdir()
    refused, runs = REFUSED[case], tmp_path / "runs"
    with refused.how():
        ended = train(runs)
    *warnings, last = ended.stderr.splitlines()
    assert ended.exit_code == refused.code, ended.stderr
    assert last.startswith("error: ")
    assert refused.said.format(path=folder_in(runs).path) in last, ended.stderr
    assert all(line.startswith("warning: no checkpoint at step ") for line in warnings), ended.stderr
    assert_tidy(runs)
    if refused.code == 4:
        assert train(runs).exit_code == 0
    assert_equal(runs, whole)


@pytest.mark.fault("F6")
@pytest.mark.parametrize(
    ("share", "kept"),
    [
        pytest.param(0.01, 0, marks=pytest.mark.matrix),
        pytest.param(0.3, 1, marks=pytest.mark.slow),
        pytest.param(0.85, 3, marks=pytest.mark.matrix),
    ],
)
def test_a_disk_that_can_only_be_read_from_then_on(share: float, kept: int, tmp_path: Path, whole: Path) -> None:
    """A line says so; what was half written then stays, and so does the lock, and neither is in the way afterwards."""
    runs = tmp_path / "runs"
    runs.mkdir()
    folder, size = folder_in(runs), sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    with remounted(int(share * size)):
        ended = train(runs)
    lines = ended.stderr.splitlines()
    assert (ended.exit_code, ended.stderr.count("error: ")) == (4, 1), ended.stderr
    assert lines[-1].startswith(f"error: [Errno 30] Read-only file system: '{folder.path}/")
    assert all(line.startswith("warning: ") and "Read-only file system" in line for line in lines[:-1]), ended.stderr
    assert checkpoints_in(runs) == ALL[:kept]
    _leave_to_the_dead(folder.path / "run.lock")
    again = train(runs)
    assert (again.exit_code, "its lock is taken over" in again.stderr) == (0, True), again.stderr
    assert_tidy(runs)
    assert_equal(runs, whole)


def _leave_to_the_dead(lock: Path) -> None:
    """Let a lock be of a process that is gone, as the one is that could not delete it: here that is this one."""
    owner = json.loads(lock.read_text())
    assert owner["pid"] == os.getpid()
    lock.write_text(json.dumps(owner | {"pid": 2**22 + 1}))


@pytest.mark.fault("F6")
@pytest.mark.slow
def test_a_checkpoint_that_the_device_does_not_give_back_is_passed_over(half: Path, whole: Path) -> None:
    """In one line; the run goes on from the one before."""
    with refusing(ERRS, f"*/ckpt-{ALL[1]:012d}/*", "open", which=range(1)):
        ended = train(half)
    assert ended.exit_code == 0
    told = [line for line in ended.stderr.splitlines() if "Input/output error" in line]
    assert len(told) == 1
    assert re.fullmatch(r"warning: .*ckpt-000000000160: Input/output error \(manifest\.json\); skipped", told[0])
    assert_equal(half, whole)


@pytest.mark.fault("F6")
@pytest.mark.slow
def test_a_lock_that_cannot_be_made_is_told(half: Path) -> None:
    """A folder has its name: code 4, and what is there stays."""
    (folder_in(half).path / "run.lock").mkdir()
    before = folder_in(half).metrics.read_bytes()
    ended = train(half)
    assert (ended.exit_code, len(ended.stderr.splitlines())) == (4, 1)
    assert "run.lock cannot be read as a lock" in ended.stderr
    assert folder_in(half).metrics.read_bytes() == before
    assert checkpoints_in(half) == ALL[:2]


@pytest.mark.fault("F6")
@pytest.mark.slow
def test_lines_that_go_where_nobody_finds_them_end_the_run(tmp_path: Path) -> None:
    """`metrics.jsonl` is taken away: the next checkpoint would count on lines that are lost, and is not written."""
    with taken_away(lambda root: root.parent / "metrics.jsonl"):
        ended = train(tmp_path)
    assert (ended.exit_code, ended.stderr.count("error: ")) == (4, 1), ended.stderr
    assert f"'{folder_in(tmp_path).metrics}'" in ended.stderr
    assert checkpoints_in(tmp_path) == ALL[:1]
    again = train(tmp_path)
    assert (again.exit_code, again.stderr.count("error: ")) == (3, 1), again.stderr
    assert "metrics.jsonl is not there, and a run cannot go on without" in again.stderr
