"""Writing checkpoints: staged, synced, read back, renamed; what fails leaves the folder as it was."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from lopgym.files import sync_folder
from lopgym.store.arrays import pack
from lopgym.store.faults import CheckpointError, StorageError
from lopgym.store.json_text import dumps
from lopgym.store.manifest import ARRAYS, LIMITS, MANIFEST, STATE, compose, name_of
from lopgym.store.reading import checkpoints, read_file
from lopgym.store.tree import Tree, encode

# What `announce` is told, in this order: the three files (content handed over, not yet synced), everything synced and
# read back, the new name given, and each old checkpoint set aside for deletion.
STAGES = ("arrays", "state", "manifest", "staged", "renamed", "pruning")
_STAGED, _TRASH = ".tmp-", ".trash-"


def _nothing(stage: str) -> None:
    """Tell nobody."""


def save(
    root: Path,
    step: int,
    tree: Tree,
    *,
    about: Mapping[str, Tree],
    keep: int = 3,
    announce: Callable[[str], None] = _nothing,
) -> Path:
    """Write `tree` as the checkpoint of `step` in `root` and return its folder; keep it and the `keep` - 1 before it.

    One process writes to a root at a time. A checkpoint of the same step is replaced: for the instant between two
    renames only the older ones are there. Checkpoints of later steps are left alone.

    Args:
        root: folder of checkpoints; made if missing. Other files in it are not touched.
        step: environment steps so far.
        tree: plain data and arrays, see `lopgym.store.tree`; it comes back bit for bit.
        about: facts that go into the manifest: versions, threads, config.
        keep: how many checkpoints are kept.
        announce: is told each stage of `STAGES`.

    Raises:
        StorageError: the disk is full, the folder cannot be written, what was written does not read back.
        CheckpointError: `tree` or `about` cannot be kept.
        ValueError: a step or a number of checkpoints that cannot be.
    """
    if keep < 1:
        raise ValueError(f"keep={keep}; at least 1")
    final = Path(root) / name_of(step)
    files = _files(final, step, tree, about)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _sweep(final.parent)
        _write(final, files, announce)
    except (OSError, ValueError, MemoryError) as error:
        raise StorageError(final, error) from error
    with suppress(OSError, StorageError):  # the new one is safe; what cannot be deleted now is, after the next save
        _prune(final, keep, announce)
    return final


def _files(final: Path, step: int, tree: Tree, about: Mapping[str, Tree]) -> dict[str, bytes]:
    """Return the content of each file, in the order of writing."""
    try:
        node, arrays = encode(tree)
        files = {ARRAYS: pack(arrays), STATE: dumps(node)}
        return files | {MANIFEST: compose(step, about, files)}
    except (ValueError, MemoryError) as error:
        raise CheckpointError(final, error) from error


def _write(final: Path, files: Mapping[str, bytes], announce: Callable[[str], None]) -> None:
    staged = final.with_name(f"{_STAGED}{final.name}-{os.getpid()}")
    try:
        staged.mkdir()
        for stage, (name, data) in zip(STAGES, files.items(), strict=False):
            _write_file(staged / name, data, partial(announce, stage))
        sync_folder(staged)
        _read_back(staged, files)
        announce("staged")
        _publish(staged, final, announce)
    except BaseException:  # an interrupt, too, leaves nothing behind
        _remove(staged)
        raise


def _write_file(path: Path, data: bytes, written: Callable[[], None]) -> None:
    with open(path, "xb") as file:
        file.write(data)
        written()
        file.flush()
        os.fsync(file.fileno())


def _read_back(staged: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        if read_file(staged / name, LIMITS[name]) != data:
            raise OSError(errno.EIO, "what was written does not read back", name)


def _publish(staged: Path, final: Path, announce: Callable[[str], None]) -> None:
    """Give a staged checkpoint its name; when that fails, whatever had the name has it again."""
    aside = final.with_name(f"{_TRASH}{final.name}")
    replaces = os.path.lexists(final)
    if replaces:
        final.rename(aside)
    try:
        staged.rename(final)
        announce("renamed")
        sync_folder(final.parent)
        read_file(final / MANIFEST, LIMITS[MANIFEST])  # a rename that reports success and does nothing has been seen
    except BaseException:
        with suppress(OSError):
            final.rename(staged)
        if replaces:
            aside.rename(final)
        raise
    _remove(aside)


def _prune(final: Path, keep: int, announce: Callable[[str], None]) -> None:
    """Delete the oldest; a later one is not counted: a resumed run is on its way to it, or could not read it."""
    so_far = [path for path in checkpoints(final.parent) if path.name <= final.name]
    for path in so_far[:-keep]:
        aside = path.with_name(f"{_TRASH}{path.name}")
        path.rename(aside)
        announce("pruning")
        _remove(aside)


def _sweep(root: Path) -> None:
    """Delete what a process that was killed has left: it may be the room that the next save needs."""
    for path in root.iterdir():
        if path.name.startswith((f"{_STAGED}ckpt-", f"{_TRASH}ckpt-")):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink(missing_ok=True)
