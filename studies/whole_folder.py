"""Whole folders: files for somebody else, all there or none, and never in the place of others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lopgym.files import named, sync_folder


def refuse_existing(out: Path) -> None:
    """Refuse to write over anything.

    Raises:
        FileExistsError: there is something at `out`.
        NotADirectoryError: it would be inside of a file.
    """
    if os.path.lexists(out):
        raise FileExistsError(f"{out} exists, and nothing is written over; choose another --out, or move it away")
    above = next(folder for folder in out.absolute().parents if os.path.lexists(folder))
    if not above.is_dir():
        raise NotADirectoryError(f"{above} is a file: no folder can be made in it")


def write_whole(out: Path, files: Mapping[str, bytes]) -> None:
    """Make the folder `out` with `files` in it, name to content: all of them, synced, or nothing at all.

    Raises:
        OSError: it cannot be written, and which file; or `out` came to be meanwhile.
    """
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    staged = out.absolute().with_name(f".tmp-{out.name}-{os.getpid()}")
    staged.mkdir()  # not ours to take away if it is there
    try:
        for name, data in files.items():
            with named(out / name, staged / name), (staged / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        with named(out):
            sync_folder(staged)
        refuse_existing(out)
        staged.rename(out)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    with suppress(OSError):  # all of it is there; that it is there after a power cut, too, not every disk can promise
        sync_folder(out.absolute().parent)
