"""Infos of vector environments: arrays (N,), with a bool mask under `_key` that says whom `key` is about."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Info = dict[str, Any]


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Lock an array that is shared between calls, and return it."""
    array.flags.writeable = False
    return array


def merged(mask: NDArray[np.bool_], new: NDArray[Any], old: NDArray[Any]) -> NDArray[Any]:
    """Return the new values in the masked copies, the old ones elsewhere."""
    if new is old:
        return old
    merged: NDArray[Any] = np.where(mask, new, old)
    return read_only(merged)


def masked(info: Info, mask: NDArray[np.bool_]) -> Info:
    """Return the info with `mask` in place of its masks, so that it speaks of those copies only."""
    told = {key: masked(value, mask) if isinstance(value, dict) else value for key, value in info.items()}
    return {key: mask if key.startswith("_") else value for key, value in told.items()}
