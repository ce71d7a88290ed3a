"""Figures: pure functions from recorded numbers to a matplotlib figure. Nothing here touches pyplot or a screen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, pairwise
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

Series = tuple[list[int], list[float]]  # steps and values of one tag

INK, FAINT, STRIPE = "#222222", "#8a8a8a", "#eef1f4"
# Okabe and Ito's palette (2008), which people with any form of colour blindness can tell apart.
PALETTE = ("#D55E00", "#0072B2", "#5f5f5f", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
RETURN = "return"
_HIDDEN = re.compile(r"probe/(?P<probe>[^/]+)/(?P<network>[^.]+)\.hidden(?P<number>\d+)")


def by_tag(lines: Iterable[tuple[int, Mapping[str, float]]]) -> dict[str, Series]:
    """Turn the lines of `metrics.jsonl` into one series per tag."""
    table: dict[str, Series] = {}
    for step, values in lines:
        for tag, value in values.items():
            steps, points = table.setdefault(tag, ([], []))
            steps.append(step)
            points.append(value)
    return table


def last_layers(tags: Iterable[str], probe: str) -> list[str]:
    """Return the tags of `probe` at the last hidden layer of each network, where a loss of plasticity shows most.

    >>> last_layers(["probe/srank/q.hidden0", "probe/srank/q.hidden1", "probe/srank/q.head"], "srank")
    ['probe/srank/q.hidden1']
    """
    last: dict[str, tuple[int, str]] = {}
    for tag in tags:
        match = _HIDDEN.fullmatch(tag)
        if match and match["probe"] == probe:
            found = (int(match["number"]), tag)
            last[match["network"]] = max(found, last.get(match["network"], found))
    return [tag for _, (_, tag) in sorted(last.items())]


def quarter_edges(tasks: int) -> list[int]:
    """Return where the quarters of `tasks` tasks begin, and where the last one ends.

    >>> quarter_edges(24)
    [0, 6, 12, 18, 24]
    """
    return [tasks * part // 4 for part in range(5)]


def quarters(values: Sequence[float]) -> list[float]:
    """Return the means of four consecutive parts, as equal as possible.

    >>> quarters([1, 1, 2, 2, 3, 3, 4, 4])
    [1.0, 2.0, 3.0, 4.0]

    Raises:
        ValueError: fewer than four values.
    """
    if len(values) < 4:
        raise ValueError(f"quarters need at least 4 tasks, not {len(values)}")
    return [fmean(values[first:last]) for first, last in pairwise(quarter_edges(len(values)))]


def returns_per_task(
    finals: Mapping[str, Sequence[float]],
    *,
    references: Mapping[str, float],
    treated: tuple[str, int] | None = None,
    title: str = "",
) -> Figure:
    """Draw return over tasks: each task as a dot on a thin line, each quarter of the tasks as a bar at its mean.

    Where variants coincide, as a treated one does with the untreated one before its treatment, the first is on top.

    Args:
        finals: variant -> mean return at the end of each task; the first colours go to the first variants.
        references: label -> return, drawn as horizontal lines.
        treated: variant and the task from which its mitigation acted; marked by a vertical line.
        title: one line above the axes.

    Raises:
        ValueError: a variant of fewer than four tasks.
    """
    figure = Figure(figsize=(10, 5.6), dpi=150, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    tasks = max(map(len, finals.values()))
    _dress(axes)
    for label, value in references.items():
        axes.axhline(value, color=FAINT, lw=1, ls=(0, (4, 3)), zorder=1)
        axes.text(-0.4, value, f"{label} ({_signed(value)})", color=FAINT, fontsize=9, va="bottom")
    if treated:
        axes.axvline(treated[1] - 0.5, color=INK, lw=1, zorder=1)
        at_the_foot = axes.get_xaxis_transform()
        axes.text(treated[1] - 0.35, 0.02, f"{treated[0]}: treatment begins", transform=at_the_foot, fontsize=9)
    for place, ((_, values), colour) in enumerate(zip(finals.items(), cycle(PALETTE), strict=False)):
        _draw_variant(axes, values, colour, height=3 - place / len(finals))
    _label_ends(axes, {label: quarters(values)[-1] for label, values in finals.items()}, tasks)
    axes.set(xlim=(-0.6, tasks - 0.4), ylabel="return at the end of the task")
    axes.set_xlabel("task  (dot: one task, bar: mean of a quarter of the tasks)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(title, loc="left", color=INK, fontsize=12)
    return figure


def run_overview(lines: Iterable[tuple[int, Mapping[str, float]]], *, title: str = "") -> Figure:
    """Draw a whole run: return, frozen units, rank and weights over steps; every other task is shaded.

    Args:
        lines: (step, values) as `lopgym.record.read_metrics` yields them; a panel without data is left out.
        title: one line above the panels.
    """
    table = by_tag(lines)
    panels: list[tuple[str, list[str]]] = [
        (RETURN, [tag for tag in ("task/return", "task/final") if tag in table]),
        ("dead fraction", last_layers(table, "dead_fraction")),
        ("effective rank", last_layers(table, "effective_rank")),
        ("weight norm", last_layers(table, "weight_norm")),
    ]
    panels = [(name, tags) for name, tags in panels if tags] or [("nothing was recorded", [])]
    figure = Figure(figsize=(10, 1.2 + 2.0 * len(panels)), dpi=120, facecolor="white", layout="constrained")
    rows: list[Axes] = list(figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0])
    for axes, (name, tags) in zip(rows, panels, strict=True):
        _dress(axes)
        _shade_odd_tasks(axes, table.get("task/index", ([], [])))
        _draw_panel(axes, name, {tag: table[tag] for tag in tags})
    rows[-1].set_xlabel("environment steps")
    rows[-1].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=12)
    return figure


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")  # as long as the plus, and as on matplotlib's axes


def _dress(axes: Axes) -> None:
    """Take away what is not data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, length=3, color=FAINT)


def _draw_variant(axes: Axes, values: Sequence[float], colour: str, height: float) -> None:
    axes.plot(range(len(values)), values, color=colour, lw=1.1, alpha=0.8, marker="o", ms=2.8, zorder=height)
    for (first, last), mean in zip(pairwise(quarter_edges(len(values))), quarters(values), strict=True):
        axes.plot([first - 0.4, last - 0.6], [mean, mean], color=colour, lw=4.5, zorder=height)


def _label_ends(axes: Axes, ends: Mapping[str, float], tasks: int) -> None:
    """Write each variant's name and last quarter at the right, moved apart where they would touch."""
    low, high = axes.get_ylim()
    gap, floor = 0.055 * (high - low), float("-inf")
    colours = dict(zip(ends, cycle(PALETTE), strict=False))
    for label, value in sorted(ends.items(), key=lambda end: end[1]):
        floor = max(value, floor + gap)
        axes.annotate(
            f"{label}  {_signed(value)}",
            (tasks - 0.3, floor),
            color=colours[label],
            fontsize=10.5,
            fontweight="bold",
            va="center",
            annotation_clip=False,
        )


def _shade_odd_tasks(axes: Axes, index: Series) -> None:
    """Shade from the end of an even task to the end of the next; a report at step t tells of the steps up to t."""
    edges: dict[int, list[int]] = {}
    before = 0
    for step, task in zip(*index, strict=True):
        edges.setdefault(int(task), [before, step])[1] = step
        before = step
    for task, (first, last) in edges.items():
        if task % 2:
            axes.axvspan(first, last, color=STRIPE, lw=0, zorder=0)


def _draw_panel(axes: Axes, name: str, lines: Mapping[str, Series]) -> None:
    """Draw the series of one panel; a series of few points (one a task) shows them."""
    axes.set_title(name, loc="left", fontsize=10, color=INK)
    most = max((len(steps) for steps, _ in lines.values()), default=0)
    for (tag, (steps, values)), colour in zip(lines.items(), cycle(PALETTE[1::-1]), strict=False):
        few = len(steps) < most / 2
        axes.plot(steps, values, color=colour, lw=2 if few else 1, marker="o" if few else "", ms=3.5, label=tag)
    if name != RETURN:
        axes.set_ylim(bottom=0)  # fractions, ranks and norms have a zero, and a small change should look small
    if lines:
        axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderaxespad=0.2)
