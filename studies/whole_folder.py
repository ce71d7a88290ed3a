"""Whole folders: files for somebody else, all there or none, and never in the place of others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path


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
        OSError: it cannot be written; or `out` came to be meanwhile.
    """
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    staged = out.absolute().with_name(f".tmp-{out.name}-{os.getpid()}")
    try:
        staged.mkdir()
        for name, data in files.items():
            with (staged / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        refuse_existing(out)
        staged.rename(out)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
