"""One process a run folder: what lives is respected, what is dead is taken over, what cannot be judged is refused."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lopgym
from lopgym.studies import locks
from lopgym.studies.locks import NAME, Locked, locked

# Forks three at a time, each of which waits until all are there, then tries; says how each round ended.
RACE = """
import json, os, pathlib, sys, time, types

sys.modules["lopgym"] = types.ModuleType("lopgym")  # without its worlds, which take seconds to import
sys.modules["lopgym"].__path__ = [sys.argv[3]]
from lopgym.studies.locks import NAME, Locked, locked

folder = pathlib.Path(sys.argv[1])
for turn in range(6):
    (folder / NAME).write_text(json.dumps(json.loads(sys.argv[2])))
    start = time.time() + 0.05
    children = []
    for _ in range(3):
        if child := os.fork():
            children.append(child)
            continue
        time.sleep(start - time.time())
        try:
            with locked(folder, say=lambda line: None):
                time.sleep(0.1)
                os._exit(0 if (folder / NAME).exists() else 3)
        except Locked:
            os._exit(1)
    print(sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
    (folder / NAME).unlink()
"""
GONE = 2**22 + 1  # above the largest number that a process can have


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def _refusal(folder: Path) -> str:
    with pytest.raises(Locked) as caught, locked(folder):
        pass
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _write(folder: Path, **other: Any) -> None:
    """Leave a lock that is ours but for `other`."""
    mine = {"pid": os.getpid(), "host": socket.gethostname(), "began": locks._began(os.getpid())}
    (folder / NAME).write_text(json.dumps(mine | other))


def test_a_lock_is_held_and_let_go_of(tmp_path: Path) -> None:
    """A folder is made if need be; inside, nobody else gets in, not even this process; afterwards nothing is left."""
    folder = tmp_path / "runs" / "a"
    with locked(folder):
        assert "is in use by process" in _refusal(folder)
        assert (folder / NAME).exists()
    assert list(folder.iterdir()) == []
    with pytest.raises(RuntimeError), locked(folder):
        raise RuntimeError
    assert list(folder.iterdir()) == []


def test_a_live_lock_is_refused_and_a_killed_one_taken_over(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    """By process and host; after SIGKILL, with one line."""
    _write(tmp_path, pid=other.pid, began=locks._began(other.pid))
    who = f"process {other.pid} on {socket.gethostname()}"
    assert _refusal(tmp_path) == f"{tmp_path} is in use by {who}: wait for it, or end it first"
    other.kill()
    other.wait()
    lines: list[str] = []
    with locked(tmp_path, say=lines.append):
        assert lines == [f"{tmp_path}: {who} is gone; its lock is taken over"]
    assert not (tmp_path / NAME).exists()


def test_the_dead_that_nobody_waited_for_are_gone(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    """A zombie has a number still, and trains no more."""
    _write(tmp_path, pid=other.pid, began=locks._began(other.pid))
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the table
    lines: list[str] = []
    with locked(tmp_path, say=lines.append):
        assert len(lines) == 1


def test_a_number_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    """The process lives, but it began at another time than the one that took the lock."""
    _write(tmp_path, began="another boot 12345")
    lines: list[str] = []
    with locked(tmp_path, say=lines.append):
        assert len(lines) == 1
    _write(tmp_path)
    assert "is in use by process" in _refusal(tmp_path)


def test_a_lock_of_another_host_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """Its process cannot be looked at from here, whatever lives here under its number."""
    _write(tmp_path, host="elsewhere", pid=GONE)
    said = _refusal(tmp_path)
    assert "on elsewhere, which cannot be looked at from" in said
    assert f"delete {tmp_path / NAME}" in said
    assert (tmp_path / NAME).exists()


def test_where_processes_cannot_be_seen_nothing_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather a file to delete than two that train in one folder."""
    monkeypatch.setattr(locks, "_began", lambda pid: locks._UNKNOWN)
    _write(tmp_path, pid=GONE)
    assert f"delete {tmp_path / NAME}" in _refusal(tmp_path)


@pytest.mark.parametrize(
    "plant",
    [
        lambda path: path.write_text(""),
        lambda path: path.write_text("[" * 100_000),
        lambda path: path.write_text('{"pid": 1}'),
        lambda path: path.write_text('{"pid": "../../1", "host": "h", "began": "b"}'),
        lambda path: path.write_text('{"pid": true, "host": "h", "began": "b"}'),
        lambda path: path.write_bytes(b"\xff\xfe\x00"),
        lambda path: path.symlink_to("/dev/zero"),
        os.mkfifo,
        lambda path: path.mkdir(),
    ],
    ids=["empty", "deep", "short", "path", "bool", "bytes", "link", "fifo", "folder"],
)
def test_what_is_no_lock_is_refused(tmp_path: Path, plant: Callable[[Path], Any]) -> None:
    """At once, in one line that names it; nothing is taken away."""
    plant(tmp_path / NAME)
    assert f"{tmp_path / NAME} cannot be read as a lock" in _refusal(tmp_path)
    assert os.path.lexists(tmp_path / NAME)


def test_a_lock_that_is_let_go_of_as_it_is_read_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever held it ended between two looks at it."""
    _write(tmp_path)
    read = Path.open

    def late(path: Path, mode: str = "r", **how: Any) -> Any:
        if mode == "rb":
            path.unlink()
        return read(path, mode, **how)

    monkeypatch.setattr(Path, "open", late)
    lines: list[str] = []
    with locked(tmp_path, say=lines.append):
        monkeypatch.undo()
        assert (tmp_path / NAME).exists()
    assert lines == []


@pytest.mark.skipif(sys.platform == "win32", reason="there is no flock")
def test_a_lock_is_let_go_of_when_nobody_judges_it(tmp_path: Path) -> None:
    """Between reading a lock and deleting it, it could have become somebody else's."""
    import fcntl

    held, done = threading.Event(), threading.Event()

    def holds() -> None:
        with locked(tmp_path):
            held.set()
            done.wait()

    holder = threading.Thread(target=holds)
    holder.start()
    held.wait()
    judge = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(judge, fcntl.LOCK_EX)
    done.set()
    holder.join(0.3)
    assert holder.is_alive()
    assert (tmp_path / NAME).exists()
    os.close(judge)
    holder.join()
    assert not (tmp_path / NAME).exists()


def test_of_several_that_want_a_stale_lock_one_gets_it(tmp_path: Path) -> None:
    """All at the same moment, six times over."""
    stale = json.dumps({"pid": GONE, "host": socket.gethostname(), "began": "long ago"})
    said = subprocess.check_output([sys.executable, "-c", RACE, str(tmp_path), stale, *lopgym.__path__], text=True)
    assert said.splitlines() == ["[0, 1, 1]"] * 6


def test_somebody_elses_lock_is_not_let_go_of(tmp_path: Path) -> None:
    """Whoever deleted ours by hand and took another keeps that."""
    with locked(tmp_path):
        _write(tmp_path, host="elsewhere")
    assert (tmp_path / NAME).exists()
