"""Pictures of small worlds: a few colours, one pixel a cell, enlarged."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # (height, width, 3)

PAPER, LINE, INK, GOOD, WARM = (
    np.array(colour, dtype=np.uint8)
    for colour in ((246, 244, 238), (226, 222, 212), (52, 101, 164), (78, 154, 6), (220, 106, 50))
)


def board(rows: int, columns: int) -> Image:
    """Return an empty chequered board, shape (rows, columns, 3)."""
    odd = np.add.outer(np.arange(rows), np.arange(columns)) % 2
    return np.where(odd[..., None], LINE, PAPER).astype(np.uint8)


def rainbow(colours: int) -> Image:
    """Return that many different colours, shape (colours, 3)."""
    shades = [colorsys.hsv_to_rgb(i / colours, 0.55, 0.85) for i in range(colours)]
    return (255 * np.array(shades)).astype(np.uint8)


def enlarge(image: Image, at_least: int = 160) -> Image:
    """Repeat every pixel, so that the shorter side has `at_least` pixels."""
    times = -(-at_least // min(image.shape[:2]))
    return image.repeat(times, axis=0).repeat(times, axis=1)
