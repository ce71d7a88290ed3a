"""Checkpoints outlive kills at any instant, full disks, failing ones and interrupts: what was there is still there."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lopgym.store.writing
from lopgym.store import STAGES, Saved, StorageError, newest, save
from lopgym.store.manifest import ARRAYS
from tests.stored import FIRST, SECOND, THIRD, names, one_line, planted, same

# What a child process begins with: numpy and the store, without the rest of the package.
PROLOGUE = """
import os, resource, signal, sys, types
from pathlib import Path
package = types.ModuleType("lopgym")
package.__path__ = [sys.argv[1]]
sys.modules["lopgym"] = package
import numpy as np
from lopgym.store import StorageError, newest, save
assert not {"torch", "gymnasium"} & sys.modules.keys()
root = Path(sys.argv[2])
def tree(step, size=50_000):
    return {"step": step, "values": np.full(size, step), "text": str(step) * 100}
"""
ONE_STAGE = """
for step in (1, 2):
    save(root, step, tree(step), about={}, keep=2)
def die(stage):
    if stage == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)
save(root, 3, tree(3), about={}, keep=2, announce=die)
"""
BACK_TO_BACK = """
saved, _ = newest(root)
step = saved.step if saved else 0
while True:
    step += 1
    save(root, step, tree(step), about={}, keep=2)
    print(step, flush=True)
"""
FULL = """
for step in (1, 2):
    save(root, step, tree(step, 3_000), about={}, keep=2)
largest = max(file.stat().st_size for file in (root / "ckpt-000000000002").iterdir())
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
for point in range(20):
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest * point // 20, unlimited[1]))
    try:
        save(root, 3, tree(3, 3_000), about={}, keep=2)
    except StorageError as error:
        print(newest(root)[0].step, sorted(path.name for path in root.iterdir()), error)
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
save(root, 3, tree(3, 3_000), about={}, keep=2)
"""


def _child(code: str, root: Path, *arguments: str) -> subprocess.Popen[str]:
    package = Path(lopgym.store.writing.__file__).parents[1]
    command = [sys.executable, "-c", PROLOGUE + code, str(package), str(root), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _is_whole(saved: Saved | None, step: int) -> bool:
    """Whether a checkpoint of the child's is of this step, and all of it."""
    if saved is None or saved.step != step:
        return False
    return same(saved.tree, {"step": step, "values": np.full(50_000, step), "text": str(step) * 100})


@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_at_any_stage_loses_nothing(tmp_path: Path, stage: str) -> None:
    """The new checkpoint from its renaming on, the one before until then; the next save clears the debris."""
    child = _child(ONE_STAGE, tmp_path, stage)
    _, said = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL, said
    assert any(name.startswith(".") for name in names(tmp_path)) == (stage != "renamed")
    saved, skipped = newest(tmp_path)
    assert _is_whole(saved, 3 if stage in {"renamed", "pruning"} else 2)
    assert skipped == []
    save(tmp_path, 4, planted(4), about={}, keep=2)
    assert len(names(tmp_path)) == 2
    assert same(newest(tmp_path)[0].tree, planted(4))  # type: ignore[union-attr]


def _killed_while_saving(root: Path, rng: random.Random) -> str:
    """Let a child save without end, kill it, and return what was lost ("" for nothing)."""
    child = _child(BACK_TO_BACK, root)
    assert child.stdout
    first = child.stdout.readline()
    time.sleep(rng.uniform(0, 0.1))
    child.kill()
    rest, said = child.communicate(timeout=60)
    done = int((first + rest).split()[-1]) if first else 0
    saved, skipped = newest(root)
    whole = any(_is_whole(saved, step) for step in (done, done + 1))  # killed between renaming and printing
    return "" if whole and not skipped else f"after {done}: {saved and saved.step}, {skipped}, {said}"


KILLS = [range(5), pytest.param(range(5, 20), marks=pytest.mark.slow)]
KILLS += [pytest.param(range(first, first + 20), marks=pytest.mark.matrix) for first in range(20, 100, 20)]


@pytest.mark.fault("F3")
@pytest.mark.parametrize("kills", KILLS, ids=lambda kills: f"{kills[0]} to {kills[-1]}")
def test_kills_during_saves_back_to_back_lose_nothing(
    tmp_path: Path, kills: range, survived: Callable[[int], None]
) -> None:
    """At random instants, each going on where the one before was killed; what is left on disk stays bounded."""
    torn = 0
    for i in kills:
        assert not _killed_while_saving(tmp_path, random.Random(i))
        torn += any(name.startswith(".") for name in names(tmp_path))
        assert len(names(tmp_path)) <= 4
    assert torn >= len(kills) // 5, "most kills came between two saves: they show nothing"
    survived(len(kills))


def test_a_limit_on_file_size_leaves_what_was_there(tmp_path: Path) -> None:
    """At twenty sizes the system itself refuses to write on."""
    child = _child(FULL, tmp_path)
    said, wrong = child.communicate(timeout=60)
    assert child.returncode == 0, wrong
    kept = [FIRST, SECOND]
    lines = said.splitlines()
    assert len(lines) == 20
    assert all(line.startswith(f"2 {kept} {tmp_path / THIRD}: File too large") for line in lines), lines
    assert names(tmp_path) == [SECOND, THIRD]


class _Disk:
    """Files that take `room` bytes in all, then say that the disk is full."""

    def __init__(self, room: int) -> None:
        self.room = room

    def open(self, path: Path, mode: str) -> Any:
        file = open(path, mode, buffering=0)  # noqa: SIM115  (the caller closes it)
        write = file.write

        def limited(data: bytes) -> int:
            taken = write(data[: self.room])
            self.room -= taken
            if taken < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return taken

        return _Writer(file, limited)


class _Writer:
    """A file of which only writing is another."""

    def __init__(self, file: Any, write: Callable[[bytes], int]) -> None:
        self._file, self.write = file, write

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.fixture
def before(tmp_path: Path) -> Iterator[Path]:
    """Two checkpoints; after the test they are still the newest, nothing else is there, and the next save succeeds."""
    for step in (1, 2):
        save(tmp_path, step, planted(step), about={}, keep=2)
    yield tmp_path
    saved, skipped = newest(tmp_path)
    assert saved is not None
    assert same(saved.tree, planted(2))
    assert skipped == []
    assert names(tmp_path) == [FIRST, SECOND]
    save(tmp_path, 3, planted(3), about={}, keep=2)
    assert names(tmp_path) == [SECOND, THIRD]


def test_a_full_disk_leaves_what_was_there(before: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At twenty places of the writing."""
    whole = sum(file.stat().st_size for file in (before / SECOND).iterdir())
    for point in range(20):
        with monkeypatch.context() as patch:
            patch.setattr(lopgym.store.writing, "open", _Disk(whole * point // 20).open, raising=False)
            with pytest.raises(StorageError, match="No space left on device") as caught:
                save(before, 3, planted(3), about={}, keep=2)
        assert caught.value.exit_code == 4
        one_line(caught.value, before / THIRD)


def _nth(number: int, call: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that fails with errno `number` at its `call`-th call, and does its work at every other."""
    calls = iter(range(1, 1000))

    def fail(*arguments: Any, **options: Any) -> Any:
        if next(calls) == call:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    return fail


# Function, errno, which call: a save syncs three files, the folder that holds them, and the folder that it is named in.
FAILING = [
    (Path, "mkdir", errno.EACCES, 1),
    (Path, "mkdir", errno.EROFS, 2),
    (Path, "iterdir", errno.EACCES, 1),
    (Path, "rename", errno.EACCES, 1),
    *[(os, "fsync", errno.EIO, call) for call in range(1, 6)],
]


@pytest.mark.parametrize("step", [2, 3], ids=["replacing", "new"])
@pytest.mark.parametrize(("owner", "name", "number", "call"), FAILING)
def test_a_failing_system_leaves_what_was_there(
    before: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, number: int, call: int, step: int
) -> None:
    """No permission, a device that errs, a disk mounted for reading: one line with the system's reason."""
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, _nth(number, call, getattr(owner, name)))
        with pytest.raises(StorageError) as caught:
            save(before, step, planted(9), about={}, keep=2)
    assert os.strerror(number) in one_line(caught.value, before / f"ckpt-{step:012d}")


@pytest.mark.parametrize("step", [2, 3], ids=["replacing", "new"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "device"), KeyboardInterrupt()], ids=["failure", "interrupt"])
@pytest.mark.parametrize("stage", STAGES[:-1])
def test_whatever_ends_a_save_leaves_what_was_there(before: Path, stage: str, error: BaseException, step: int) -> None:
    """At each stage; even after the renaming the old one is put back."""

    def fail(now: str) -> None:
        if now == stage:
            raise error

    with pytest.raises((StorageError, KeyboardInterrupt)):
        save(before, step, planted(9), about={}, keep=2, announce=fail)


def test_a_disk_that_lies_is_found_out(before: Path) -> None:
    """What does not read back as it was written is not published."""

    def lie(stage: str) -> None:
        if stage == "manifest":
            (staged,) = before.glob(".tmp-*")
            (staged / ARRAYS).write_bytes(b"")

    with pytest.raises(StorageError, match="what was written does not read back"):
        save(before, 3, planted(3), about={}, keep=2, announce=lie)


def test_a_failing_deletion_does_not_fail_the_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new checkpoint is safe; the old one goes after the next save."""
    for step in (1, 2):
        save(tmp_path, step, planted(step), about={}, keep=2)

    def fail(stage: str) -> None:
        if stage == "pruning":
            raise OSError(errno.EACCES, "no")

    save(tmp_path, 3, planted(3), about={}, keep=2, announce=fail)
    assert newest(tmp_path)[0].step == 3  # type: ignore[union-attr]
    save(tmp_path, 4, planted(4), about={}, keep=2)
    assert names(tmp_path) == [THIRD, "ckpt-000000000004"]
