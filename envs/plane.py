"""Worlds in the plane: points of all copies at once, and their pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.painting import PAPER, Image
from lopgym.physics import Value

Points = NDArray[np.float64]  # (2, N) or (2, 1): x and y of each copy, or one point for all copies


def points(x: Value, y: Value) -> Points:
    """Return one point for all copies, shape (2, 1), or one a copy, shape (2, N), if a coordinate has shape (N,)."""
    pair: Points = np.stack(np.broadcast_arrays(np.asarray(x, dtype=np.float64), y)).reshape(2, -1)
    return pair


def of_copy(value: Any, copy: int) -> Any:
    """Return what a parameter or a point is for one copy; its last axis is N or 1, or it is a number."""
    values = np.atleast_1d(value)
    return values[..., copy if values.shape[-1] > 1 else 0]


class Canvas:
    """A picture of the square [low, high]^2, y upwards.

    Attributes:
        image: the picture, shape (side, side, 3).
        x: horizontal place of the centre of each pixel, shape (1, side).
        y: vertical place of the centre of each pixel, shape (side, 1).
    """

    def __init__(self, low: float, high: float, side: int = 96) -> None:
        """Begin with an empty picture."""
        centres = low + (high - low) * (np.arange(side) + 0.5) / side
        self.image: Image = np.tile(PAPER, (side, side, 1))
        self.x, self.y = centres[None, :], centres[::-1, None]

    def fill(self, where: NDArray[np.bool_], colour: NDArray[np.uint8]) -> None:
        """Give the pixels in `where`, shape (side, side), one colour."""
        self.image[where] = colour

    def disc(self, centre: NDArray[np.float64], radius: float, colour: NDArray[np.uint8]) -> None:
        """Draw a disc around `centre`, shape (2,)."""
        self.fill(np.hypot(self.x - centre[0], self.y - centre[1]) <= radius, colour)
