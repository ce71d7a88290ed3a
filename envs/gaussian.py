"""Normal noise for batched worlds, drawn from their counter streams."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lopgym.seeding import CounterStream


def gaussian(stream: CounterStream, counters: NDArray[np.int64], draw: int = 0) -> NDArray[np.float64]:
    """Return two independent standard normal numbers a copy, shape (2, N), from draws `draw` and `draw + 1`.

    The transform of Box and Muller 1958 (doi:10.1214/aoms/1177706645): sqrt(-2 ln u) (cos 2 pi v, sin 2 pi v).
    """
    radius = np.sqrt(-2.0 * np.log1p(-stream.uniform(counters, draw)))  # 1 - u is never 0
    angle = 2.0 * np.pi * stream.uniform(counters, draw + 1)
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)))
