"""Numbered variants of a thing (a label table, an order, a code), for one copy or for many that differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.physics import Value

MAX_INDEX = 2**53  # every whole number up to here is a float too, so that a schedule can name it


def variants(numbers: Value, make: Callable[[int], Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Make each variant in use once.

    Args:
        numbers: number of the variant, one for all copies, or shape (N,).
        make: from the number of a variant to the variant, an array of shape S.

    Returns:
        The K different variants, shape (K, *S), and the row that each copy uses, shape () or (N,).
    """
    used, rows = np.unique(np.asarray(numbers), return_inverse=True)
    return np.stack([make(int(number)) for number in used]), rows.reshape(np.shape(numbers))
