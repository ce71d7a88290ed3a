"""Figures of one look into an agent: values beside fresh networks, spectra, and how loud each unit is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, isfinite

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lopgym.probes.null import Null
from lopgym.studies.figures import FAINT, INK, PALETTE, STRIPE
from lopgym.studies.findings import Rule
from lopgym.studies.probing import Look, Portrait

ACROSS, LAYERS_ACROSS = 3, 4  # panels side by side
AGENT, FRESH = PALETTE[0], "#9aa5b1"


def beside_fresh(seen: Look, rules: Sequence[Rule]) -> Figure:
    """Draw a panel a probe: a row a layer, the agent's value a dot, fresh networks a bar of mean and two spreads."""
    drawn = [rule for rule in rules if any(tag.startswith(f"{rule.probe}/") for tag in seen.readings)]
    down = ceil(len(drawn) / ACROSS)
    most = max((len(_rows(seen, rule.probe)) for rule in drawn), default=1)
    figure = Figure(figsize=(10, down * (0.75 + 0.24 * most)), facecolor="white", layout="constrained")
    panels: list[Axes] = list(figure.subplots(down, ACROSS, squeeze=False).flat)
    figure.get_layout_engine().set(h_pad=0.08)  # type: ignore[union-attr,call-arg]  # titles clear of what is above
    for axes, rule in zip(panels, drawn, strict=False):
        _compare(axes, rule.probe, _rows(seen, rule.probe))
        if rule.share:
            axes.set_xlim(-0.04, 1.04)  # or few clones would look like many
    for axes in panels[len(drawn) :]:
        axes.set_visible(False)
    return figure


def curves(seen: Look, of: Callable[[Portrait], Mapping[str, Tensor]], what: str, *, log: bool) -> Figure:
    """Draw a panel a hidden layer: one falling line of the agent over those of the fresh networks.

    Args:
        seen: what was measured.
        of: takes the lines from a portrait.
        what: name of the vertical axis.
        log: whether that axis is logarithmic; it then ends at 10^-4.
    """
    own = of(seen.portrait)
    across = min(len(own), LAYERS_ACROSS)
    down = ceil(len(own) / across)
    figure = Figure(figsize=(10, 2.4 * down), facecolor="white", layout="constrained")
    panels: list[Axes] = list(figure.subplots(down, across, squeeze=False).flat)
    for axes, (layer, line) in zip(panels, own.items(), strict=False):
        _dress(axes, layer)
        for stranger in seen.strangers:
            axes.plot(_positions(line), of(stranger)[layer], color=FRESH, lw=0.6, alpha=0.6)
        axes.plot(_positions(line), line, color=AGENT, lw=2)
        axes.set_ylabel(what, fontsize=8)
        if log:
            axes.set(yscale="log", ylim=(1e-4, 1.5))
    for axes in panels[len(own) :]:
        axes.set_visible(False)
    return figure


def _rows(seen: Look, probe: str) -> dict[str, Null]:
    found = {where: seen.readings.get(f"{probe}/{where}") for where in seen.places}
    return {where: reading for where, reading in found.items() if reading is not None and isfinite(reading.value)}


def _compare(axes: Axes, probe: str, rows: Mapping[str, Null]) -> None:
    _dress(axes, probe.replace("_", " "))
    for height, reading in enumerate(rows.values()):
        axes.axhspan(height - 0.32, height + 0.32, color=STRIPE, lw=0)
        reach = max(2 * reading.sd, 0.0)
        axes.plot([reading.mean - reach, reading.mean + reach], [height] * 2, color=FRESH, lw=5, solid_capstyle="butt")
        axes.plot(reading.mean, height, marker="|", color=INK, ms=8)
        axes.plot(reading.value, height, marker="o", color=AGENT, ms=6)
    axes.set_yticks(range(len(rows)), [*rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.margins(x=0.08)


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=9, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8, length=3, color=FAINT)


def _positions(line: Tensor) -> np.ndarray[tuple[int], np.dtype[np.int_]]:
    return np.arange(1, len(line) + 1)
