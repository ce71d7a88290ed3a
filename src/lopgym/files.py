"""Files that are there whole or not at all, and errors of the disk that say which file they are about."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any


@contextmanager
def named(path: Path, *instead_of: Path) -> Iterator[None]:
    """Let an error of the disk inside the block name `path`: one of writing or syncing names nothing by itself.

    Args:
        path: the file that it is about.
        instead_of: files that nobody asked for, which become `path`.

    Raises:
        OSError: what was raised, and of which file.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, *map(str, instead_of)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def whole(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Yield a file that becomes `path` when the block ends; if anything fails, what was there is there as it was.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    part = path.with_suffix(".part")
    try:
        with named(path, part):
            with part.open(mode) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    with suppress(OSError):  # it is there; that it is there after a power cut, too, not every disk can promise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError: this file system cannot.
    """
    if os.name == "nt":  # where a folder cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
