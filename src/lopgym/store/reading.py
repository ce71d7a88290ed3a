"""Reading checkpoints: verified before it is parsed, bounded before it is read, and never executed."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lopgym.store.arrays import unpack
from lopgym.store.faults import CheckpointError, StorageError
from lopgym.store.json_text import loads
from lopgym.store.manifest import ARRAYS, LIMITS, MANIFEST, STATE, digest, name_of, parse
from lopgym.store.tree import Tree, decode

_NAME = re.compile(r"ckpt-[0-9]{12}")
# Follow no link, and do not wait for the other end of a pipe; zero where the system knows no such thing.
_CAREFUL = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was read: its step, its tree, what was noted about it, and where it lies."""

    step: int
    tree: Any
    about: dict[str, Any]
    path: Path


def load(path: Path) -> Saved:
    """Return the checkpoint in the folder `path`.

    Raises:
        CheckpointError: it is missing, damaged, of another format, or above the limits; the line says what and where.
    """
    try:
        return _read(Path(path))
    except Exception as error:  # whatever hostile bytes make a parser raise, it is a checkpoint that cannot be read
        raise CheckpointError(path, error) from error


def newest(root: Path) -> tuple[Saved | None, list[str]]:
    """Return the newest checkpoint in `root` that verifies, and a line for each newer one that does not.

    Raises:
        StorageError: `root` cannot be listed. (No such folder is no fault: there is no checkpoint yet.)
    """
    skipped: list[str] = []
    for path in reversed(checkpoints(root)):
        try:
            return load(path), skipped
        except CheckpointError as error:
            skipped.append(str(error))
    return None, skipped


def checkpoints(root: Path) -> list[Path]:
    """Return what is named as a checkpoint in `root`, the oldest first, unread."""
    try:
        return sorted(path for path in Path(root).iterdir() if _NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(root, error) from error


def read_file(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        ValueError: it is a link, a pipe, a folder, or larger.
        OSError: it cannot be read.
    """
    _refuse_unless(stat.S_ISREG(path.lstat().st_mode), f"{path.name} is no regular file")
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _CAREFUL)) as file:
        found = os.fstat(file.fileno())  # again, of what was opened: names can change hands
        _refuse_unless(stat.S_ISREG(found.st_mode), f"{path.name} is no regular file")
        _refuse_unless(found.st_size <= limit, f"{path.name} has {found.st_size} bytes; expected at most {limit}")
        return file.read(found.st_size)


def _read(path: Path) -> Saved:
    _refuse_unless(stat.S_ISDIR(path.lstat().st_mode), "is no folder")
    manifest = parse(read_file(path / MANIFEST, LIMITS[MANIFEST]))
    if _NAME.fullmatch(path.name):
        _refuse_unless(path.name == name_of(manifest.step), f"holds step {manifest.step}: it was renamed")
    content = {name: _verified(path / name, *manifest.files[name]) for name in (STATE, ARRAYS)}
    tree: Tree = decode(loads(content[STATE]), unpack(content[ARRAYS]))
    return Saved(manifest.step, tree, manifest.about, path)


def _verified(path: Path, size: int, checksum: str) -> bytes:
    data = read_file(path, min(size, LIMITS[path.name]))
    _refuse_unless(len(data) == size, f"{path.name} has {len(data)} bytes instead of {size}")
    _refuse_unless(digest(data) == checksum, f"{path.name} is damaged: its checksum does not fit")
    return data


def _refuse_unless(holds: bool, why: str) -> None:
    if not holds:
        raise ValueError(why)
