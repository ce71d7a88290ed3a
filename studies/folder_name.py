"""Folder names that every file system takes, and that stay in the folder that they are put in."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

LONGEST = 100
_SAFE = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._,=+@~-]{{0,{LONGEST - 1}}}(?<!\.)")
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # of Windows, whatever comes behind
_RULE = f"at most {LONGEST} letters, digits and . _ , = + @ ~ -; the first a letter or digit, the last no dot"


def folder_name(name: str) -> str:
    """Return `name` if it may be that of a folder.

    >>> folder_name("redo,tau=0.2")
    'redo,tau=0.2'
    >>> folder_name("../my run")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: '../my run' is no folder's name: at most 100 letters, ...; such as 'my-run'

    Raises:
        ValueError: it may not; the message says the rule, and a name that may.
    """
    if _DEVICE.fullmatch(name):
        raise ValueError(f"{name!r} is a device of Windows and no folder's name there; such as 'my-{name}'")
    if _SAFE.fullmatch(name):
        return name
    raise ValueError(f"{_short(name)!r} is no folder's name: {_RULE}; such as {_near(name)!r}")


def hold_inside(path: Path, root: Path) -> None:
    """Refuse a folder below `root`, there or to be made, if links or files on the way make it another place.

    Raises:
        OSError: a link leads out of `root`, in a circle or to nothing; a file is where a folder should be.
    """
    there = next(place for place in (path, *path.absolute().parents) if os.path.lexists(place))
    there.stat()
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(os.path.realpath(root)):
        raise OSError(f"{path} is not inside of {root}: a link leads to {real}")


def _near(name: str) -> str:
    clean = re.sub(r"[^A-Za-z0-9._,=+@~]+", "-", name).lstrip("._,=+@~-")
    return clean[:LONGEST].rstrip(".-") or "mine"


def _short(name: str, limit: int = 40) -> str:
    return name if len(name) <= limit else f"{name[:limit]}..."
