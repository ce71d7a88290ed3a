"""Infos of vector environments: arrays (N,), with a bool mask under `_key` that says whom `key` is about."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Info = dict[str, Any]
_OURS = frozenset(["task", "_task", "drift", "_drift", "clock", "_clock"])


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Lock an array that is shared between calls, and return it."""
    array.flags.writeable = False
    return array


def merged(copies: NDArray[Any], new: NDArray[Any], old: NDArray[Any]) -> NDArray[Any]:
    """Return the new values in these copies, bool (N,) or indices, the old ones elsewhere."""
    if new is old:
        return old
    merged = old.copy()
    merged[copies] = new[copies]
    return read_only(merged)


def forget(info: Info, mask: NDArray[np.bool_]) -> None:
    """Take back, in place, what a world said of the last steps of the masked copies, as they begin anew."""
    for told in [key for key in info.keys() - _OURS if f"_{key}" in info]:
        info[f"_{told}"] = rest = info[f"_{told}"] & ~mask
        if not rest.any():
            del info[told], info[f"_{told}"]


def masked(info: Info, mask: NDArray[np.bool_]) -> Info:
    """Return the info with `mask` in place of its masks, so that it speaks of those copies only."""
    told = {key: masked(value, mask) if isinstance(value, dict) else value for key, value in info.items()}
    return {key: mask if key.startswith("_") else value for key, value in told.items()}
