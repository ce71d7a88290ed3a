"""Locks: one process trains in a run folder at a time; what a dead one left behind is taken over."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from lopgym.files import named
from lopgym.studies.notices import notice

NAME = "run.lock"
_LONGEST = 4096  # bytes of a lock that are read
_UNKNOWN = "unknown"  # when a process began, where nobody can tell


class Locked(Exception):  # noqa: N818  an error in its name would say no more
    """Another process trains in this folder, or may do so."""

    exit_code = 4


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Args:
        pid: number of the process.
        host: name of the machine.
        began: when the process began, as the machine tells it: numbers of processes are used again.
    """

    pid: int
    host: str
    began: str


@contextmanager
def locked(folder: Path, say: Callable[[str], None] = notice) -> Iterator[None]:
    """Hold the lock of `folder`, which is made if it is not there, while the block runs.

    Args:
        folder: of one run.
        say: gets one line if the lock of a process that is gone is taken over.

    Raises:
        Locked: a process that lives holds it, or one that cannot be looked at from here.
        OSError: the folder cannot be written.
    """
    path, me = folder / NAME, Owner(os.getpid(), socket.gethostname(), _began(os.getpid()) or _UNKNOWN)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if who := _gone(path, me):
            say(f"{folder}: {who} is gone; its lock is taken over")
            path.unlink(missing_ok=True)
        _create(path, me)
    try:
        yield
    finally:
        if os.getpid() == me.pid:  # not in a fork of this process
            with suppress(OSError, Locked), _alone(folder):
                if _owner(path) == me:
                    path.unlink()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Judge and take locks one process at a time, or two could take the same one over; file systems may decline."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _gone(path: Path, me: Owner) -> str:
    """Name the owner of a lock, who is gone; "" if there is no lock.

    Raises:
        Locked: it is not.
    """
    owner = _owner(path)
    if owner is None:
        return ""
    who = f"process {owner.pid} on {owner.host}"
    if owner.host != me.host:
        raise Locked(
            f"{path.parent} is locked by {who}, which cannot be looked at from {me.host}; if it trains no more, "
            f"delete {path}"
        )
    began = _began(owner.pid)
    if began == _UNKNOWN:
        raise Locked(f"{path.parent} is locked by {who}; if it trains no more, delete {path}")
    if began == owner.began:
        raise Locked(f"{path.parent} is in use by {who}: wait for it, or end it first")
    return who


def _owner(path: Path) -> Owner | None:
    """Read a lock, which may be let go of at any moment: None if there is none.

    Raises:
        Locked: it is something else.
    """
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ValueError("not a file")
        with path.open("rb") as file:
            owner = Owner(**json.loads(file.read(_LONGEST)))
        if [type(value) for value in asdict(owner).values()] != [int, str, str]:
            raise ValueError("not the fields of a lock")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, RecursionError):
        raise Locked(f"{path} cannot be read as a lock; if nothing trains in {path.parent}, delete it") from None
    return owner


def _create(path: Path, me: Owner) -> None:
    try:
        with named(path), path.open("x") as file:
            file.write(json.dumps(asdict(me)) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise Locked(f"{path.parent} has just been locked by another machine, see {path}") from None
    except BaseException:
        with suppress(OSError):  # half a lock would keep everybody out
            path.unlink()
        raise


def _began(pid: int) -> str | None:
    """Return when a process of this machine began, None if there is none of that number."""
    if sys.platform == "linux":
        return _began_by_proc(pid)
    if sys.platform == "win32":
        return _UNKNOWN  # asking whether it lives would need its handle
    ran = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return ran.stdout.strip() or None


def _began_by_proc(pid: int) -> str | None:
    """Return boot and clock ticks since; a process that has ended and was not waited for is gone, too."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    state, *fields = told.rpartition(")")[2].split()  # its name, in parentheses, may hold anything
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None if state in "ZX" else f"{boot} {fields[18]}"
