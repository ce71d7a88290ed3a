"""The page: one look into an agent as one HTML file that needs nothing else."""

from __future__ import annotations

import inspect
import io
from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from lopgym.probes import probes
from lopgym.probes.null import Null
from lopgym.record import read_metrics
from lopgym.studies.figures import run_overview
from lopgym.studies.findings import RULES
from lopgym.studies.probe_figures import beside_fresh, curves
from lopgym.studies.probing import Look
from lopgym.studies.reading import CAUTION, NOTHING, by_reason, shown
from lopgym.studies.revival import freed_by_revival, no_gradient_units

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 64rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2.2rem } p, ul { max-width: 46rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px }
th, td { padding: .15rem .7rem; text-align: right; border-bottom: 1px solid #e4e7eb }
th:first-child, td:first-child { text-align: left } td.out { color: #b34a00; font-weight: 600 }
svg { width: 100%; height: auto } summary { cursor: pointer; margin: .4rem 0 } .faint { color: #666 }
.findings li { margin: .35rem 0 } .agent { color: #d55e00; font-weight: 600 }
"""


def page(seen: Look, metrics: Path | None = None) -> str:
    """Return the HTML of a look; `metrics` of the run, if there is one, are drawn as well."""
    body = "\n".join(_sections(seen, metrics))
    head = f'<meta charset="utf-8"><title>{escape(seen.name)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def _sections(seen: Look, metrics: Path | None) -> Iterator[str]:
    yield f"<h1>{escape(seen.name)}</h1>"
    yield "<h2>What was found</h2>"
    yield _list("findings", [found.sentence for found in seen.findings]) if seen.findings else f"<p>{NOTHING}</p>"
    yield f'<p class="faint">{CAUTION}</p>'
    yield f'<h2>Beside fresh networks</h2><p><span class="agent">Dot</span>: this agent. Grey: {seen.fresh} freshly'
    yield "initialised networks on the same observations, their mean and two standard deviations to each side.</p>"
    yield _svg(beside_fresh(seen, RULES), "beside")
    yield "<h2>Directions of each layer</h2><p>Singular values of the activations over their sum, largest first.</p>"
    yield _svg(curves(seen, lambda portrait: portrait.spectra, "share", log=True), "spectra")
    yield "<h2>Units of each layer</h2><p>Mean magnitude of each unit over that of its layer, loudest first.</p>"
    yield _svg(curves(seen, lambda portrait: portrait.loudness, "loudness", log=False), "loudness")
    if metrics is not None and metrics.exists():
        yield "<h2>How it came to this</h2>"
        yield _svg(run_overview(read_metrics(metrics)), "run")
    yield "<h2>Every number</h2><p>Orange: beyond every fresh network, and more than three standard deviations from"
    yield "their mean. Rest the pointer on a name to read what it measures.</p>"
    yield from (_table(seen, place) for place in seen.places)
    if seen.skipped:
        yield "<h2>Not measured</h2>"
        yield _list("faint", [f"{', '.join(names)}: {why}" for why, names in by_reason(seen.skipped).items()])


def _list(kind: str, items: list[str]) -> str:
    return f'<ul class="{kind}">' + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _table(seen: Look, place: str) -> str:
    units = f", {seen.layers[place]} units" if place in seen.layers else ""
    rows = "".join(_row(probe, reading) for probe, reading in seen.of(place).items())
    head = "<tr><th>probe</th><th>value</th><th>fresh, mean</th><th>spread</th><th>percentile</th></tr>"
    return f"<details open><summary>{escape(place)}{units}</summary><table>{head}{rows}</table></details>"


def _row(probe: str, reading: Null) -> str:
    value, *others = shown(reading)
    kind = ' class="out"' if reading.beyond else ""
    cells = "".join(f"<td>{cell}</td>" for cell in others)
    meaning = escape(_meanings().get(probe, ""))
    return f'<tr><td title="{meaning}">{escape(probe)}</td><td{kind}>{value}</td>{cells}</tr>'


@cache
def _meanings() -> dict[str, str]:
    """Return the first line of what each probe says of itself; those of revival are in no registry."""
    more = {f.__name__: (inspect.getdoc(f) or "").partition("\n")[0] for f in (no_gradient_units, freed_by_revival)}
    return {entry.name: entry.summary for entry in probes} | more


def _svg(figure: Figure, salt: str) -> str:
    """Return a figure as an element; `salt` keeps its ids apart from those of the page's other figures."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.family": "sans-serif"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
