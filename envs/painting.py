"""Pictures of small worlds: a few colours, one pixel a cell, enlarged; and words below a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

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


NIGHT, CHALK = np.array((38, 40, 46), dtype=np.uint8), np.array((236, 236, 230), dtype=np.uint8)
CELL, ROW, LETTER = 200, 18, 19  # pixels: width and height of a piece of text, height of its letters
ORDINARY = 400  # width of a picture, in pixels, up to which text is of that size; on wider ones it grows


def centred(image: Image, height: int, width: int) -> Image:
    """Return a picture of that size with `image`, enlarged as far as it fits, in its middle, on dark ground."""
    times = min(height // image.shape[0], width // image.shape[1])
    scene = image.repeat(times, axis=0).repeat(times, axis=1)
    page = np.tile(NIGHT, (height, width, 1))
    top, left = (height - scene.shape[0]) // 2, (width - scene.shape[1]) // 2
    page[top : top + scene.shape[0], left : left + scene.shape[1]] = scene
    return page


def captioned(image: Image, words: Sequence[str]) -> Image:
    """Return the picture with a dark band of words below it, in as many columns as there is room for.

    The size of the result depends on the size of the picture and the number of words only, so that all frames of a
    film are equally large. A picture that is narrower than a text stands in the middle.

    Args:
        image: any picture, shape (H, W, 3).
        words: short texts; of each, what does not fit into its place is cut off.
    """
    height, width = image.shape[:2]
    cell, row, letter = (round(size * max(1.0, width / ORDINARY)) for size in (CELL, ROW, LETTER))
    columns = max(1, width // cell)
    page = np.tile(NIGHT, (height + -(-len(words) // columns) * row, max(cell, width), 1))
    left = (page.shape[1] - width) // 2
    page[:height, left : left + width] = image
    for place, text in enumerate(words):
        down, right = divmod(place, columns)
        spot = page[height + down * row :][:row, right * cell :][:, :cell]
        ink = _letters(text, letter)[:row, :cell, None]
        under = spot[(row - ink.shape[0]) // 2 :][: ink.shape[0], : ink.shape[1]]
        under[:] = (ink * CHALK + (1.0 - ink) * under).astype(np.uint8)
    return page


def _letters(text: str, height: int) -> NDArray[np.float64]:
    """Return how much ink each pixel of a line of text takes, 0 to 1, shape (h, w)."""
    import pygame

    pygame.font.init()  # each time: an environment that is closed quits all of pygame, fonts that were made included
    line = pygame.font.Font(None, height).render(f" {text}", True, (0, 0, 0), (255, 255, 255))
    ink: NDArray[np.float64] = 1.0 - pygame.surfarray.array3d(line)[:, :, 0].T / 255.0
    return ink
