"""What the tests of checkpoints save, and when two trees are one."""

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from lopgym.store import CheckpointError

ABOUT = {"threads": 1, "versions": {"numpy": np.__version__}, "when": (0.1, math.inf)}
FIRST, SECOND, THIRD = (f"ckpt-{step:012d}" for step in (1, 2, 3))


def planted(step: int, size: int = 12) -> dict[str, Any]:
    """Return a tree that must never be found in the checkpoint of another step."""
    weights = np.random.default_rng(step).standard_normal(size).astype(np.float32)
    return {"weights": weights, "moments": [weights * 2, step], "lr": 0.1 * step, "rng": 2**100 + step}


def same(one: Any, other: Any) -> bool:
    """Whether two trees are equal bit for bit and type for type, order of keys and of memory included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return _facts(one) == _facts(other) and one.tobytes() == other.tobytes()
    if isinstance(one, np.generic):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or struct.pack("d", one) == struct.pack("d", other)
    if isinstance(one, dict):
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _facts(array: np.ndarray[Any, Any]) -> tuple[Any, ...]:
    return array.dtype, array.shape, array.flags.f_contiguous, array.flags.writeable


def names(root: Path) -> list[str]:
    """Return what lies in `root`, debris included."""
    return sorted(path.name for path in root.iterdir())


def one_line(error: CheckpointError, path: Path) -> str:
    """Return the message: one printable line of bearable length that begins with the path."""
    text = str(error)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert len(text) < len(str(path)) + 400
    return text
