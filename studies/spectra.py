"""Spectra: the singular values of each layer all along a run, kept as JSON lines, and the picture of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from lopgym.files import named
from lopgym.studies.figures import FAINT, INK

Falling = Sequence[tuple[int, Sequence[float]]]  # step and singular values, one look after another

FLOOR = 1e-4  # of the largest singular value: a direction weaker than this is not drawn
MOST = 40  # lines that a panel shows
DIGITS = 6  # kept of each singular value, about those of single precision


class SpectraFile:
    """Writes `spectra.jsonl`, a look a line."""

    def __init__(self, path: Path) -> None:
        """Write to `path`, from the first look on."""
        self._path = path

    def write(self, step: int, spectra: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
        """Append what was seen at `step`: layer -> `activations` or `weights` -> singular values."""
        kept = {
            layer: {what: [_rounded(s) for s in sigma] for what, sigma in each.items()}
            for layer, each in spectra.items()
        }
        with named(self._path), self._path.open("a") as file:
            file.write(json.dumps({"step": step, **kept}) + "\n")

    def offset(self) -> int:
        """Put every look on the disk, and return how many bytes they are, as `MetricsFile.offset` does."""
        if not self._path.exists():
            return 0
        with named(self._path), self._path.open("a") as file:
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_size


def _rounded(value: float) -> float | str:
    """Round; JSON has no NaN or infinity, which are strings, as in `metrics.jsonl`."""
    short = float(f"{value:.{DIGITS}g}")
    return short if np.isfinite(short) else str(short)


def read_spectra(path: Path) -> dict[str, dict[str, Falling]]:
    """Return layer -> `activations` or `weights` -> (step, singular values) of each look; nothing if none was kept.

    A last line that is still being written is left out.
    """
    found: dict[str, dict[str, list[tuple[int, list[float]]]]] = {}
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    for look in (json.loads(line) for line in lines if line.endswith("\n")):
        step = look.pop("step")
        for layer, each in look.items():
            for what, sigma in each.items():
                found.setdefault(layer, {}).setdefault(what, []).append((step, [float(s) for s in sigma]))
    return {layer: dict(each) for layer, each in found.items()}


def spectra_figure(layer: str, spectra: Mapping[str, Falling]) -> Figure:
    """Draw how the directions of a layer come and go: a line a look, from the first, light, to the last, dark.

    Each line is sigma_i / sigma_1 over i, logarithmic. A line that falls early is a layer that has few things to say. A
    look at a layer that was dead, all sigma 0, has no line and is counted in the title.

    Args:
        layer: name above the panels.
        spectra: `activations`, `weights` or both, as `read_spectra` gives them.
    """
    figure = Figure(figsize=(5 * len(spectra), 3.6), dpi=120, facecolor="white", layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, len(spectra), sharey=True, squeeze=False)[0])
    steps = [step for looks in spectra.values() for step, _ in looks]
    shades, scale = _shades(), Normalize(min(steps), max(steps))
    for axes, (what, looks) in zip(panels, spectra.items(), strict=True):
        _draw(axes, what, looks, shades, scale)
    panels[0].set(yscale="log", ylim=(FLOOR, 1.4), ylabel="singular value / largest")
    bar = figure.colorbar(mpl.cm.ScalarMappable(scale, shades), ax=panels, pad=0.02)
    bar.set_label("environment steps", fontsize=9, color=INK)
    bar.ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    bar.ax.tick_params(labelsize=8)
    figure.suptitle(f"directions of {layer}", x=0.01, ha="left", color=INK, fontsize=12)
    return figure


def _shades() -> Colormap:
    """From a light that is still seen on white to black, by way of blue."""
    return LinearSegmentedColormap.from_list("age", ["#f2c98a", "#D55E00", "#5a1a4a", "#101018"])


def _draw(axes: Axes, what: str, looks: Falling, shades: Colormap, scale: Normalize) -> None:
    dead = sum(not any(sigma) for _, sigma in looks)
    for step, sigma in _spread([look for look in looks if any(look[1])]):
        share = np.array(sigma) / sigma[0]
        share[share < FLOOR] = np.nan
        axes.plot(np.arange(1, len(share) + 1), share, color=shades(scale(step)), lw=1.1, alpha=0.9)
    said = f"{what} ({dead} of {len(looks)} looks: dead)" if dead else what
    axes.set_title(said, loc="left", fontsize=10, color=INK)
    axes.set_xlabel("index of the direction")
    axes.set_xlim(1, max(2, *(len(sigma) for _, sigma in looks)))  # a range, even of one direction
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, length=3, color=FAINT)


def _spread(looks: Falling) -> Falling:
    """Return at most `MOST` of the looks, evenly, the first and the last among them."""
    if len(looks) <= MOST:
        return looks
    return [looks[i] for i in np.linspace(0, len(looks) - 1, MOST).round().astype(int)]
