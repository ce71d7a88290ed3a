"""What can be wrong with a checkpoint, told in one line: where, and why."""

from __future__ import annotations

from pathlib import Path

_LONGEST = 300  # characters of a reason: a hostile file does not get to fill the screen


class CheckpointError(Exception):
    """A checkpoint is missing, damaged, foreign, or cannot be made of what was given."""

    exit_code = 3

    def __init__(self, path: Path, why: BaseException | str) -> None:
        """Name the checkpoint's `path` and the reason."""
        self.path = path
        self.why = why if isinstance(why, str) else _told(why)
        super().__init__(" ".join(f"{path}: {self.why}".split()))


class StorageError(CheckpointError):
    """A checkpoint could not be written: the disk is full, the folder is not ours, the device fails."""

    exit_code = 4


def _told(error: BaseException) -> str:
    """Return the reason in the user's words; what a parser of hostile bytes trips over is named by its type."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f" ({Path(str(error.filename)).name})" if error.filename else "")
    said = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."
