"""A made-up stream that rises, for tests of detectors and of what hears them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stream(seed: int, rise: float = 3.0) -> NDArray[np.float64]:
    """Return 400 normal numbers, the last 150 of them higher."""
    values = np.random.default_rng(seed).normal(size=400)
    values[250:] += rise
    return values
