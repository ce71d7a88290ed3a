"""The demo: an agent that loses its plasticity and, from one task on, regains it; with its numbers."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lopgym.record import RunFolder, read_metrics, repeatable
from lopgym.studies.figures import by_tag, last_layers, quarter_edges, quarters, returns_per_task
from lopgym.studies.parallel import run_all
from lopgym.studies.progress import display
from lopgym.studies.verdict import verdict

STUDY, START = "catch_dqn", 14
TREATED = f"redo@{START}"
VARIANTS: dict[str, dict[str, Any]] = {
    "none": {},
    TREATED: {"mitigation": {"redo": {"active_from": START}}},
    "fresh": {"mitigation": "fresh"},
}
SHOWN = {"dead fraction": "dead_fraction", "effective rank": "effective_rank"}  # column -> probe


@dataclass(frozen=True)
class Outcome:
    """What the demo reads back from one run.

    Args:
        finals: `task/final` of each task.
        probes: the last value of each of `SHOWN` at the last hidden layer.
        before: all that was recorded before the treatment began, but for measured costs.
    """

    finals: list[float]
    probes: dict[str, float]
    before: list[tuple[int, dict[str, float]]]


def demo(seed: int = 0, out: Path | None = None, workers: int | None = None) -> Path:
    """Train the three variants side by side, then show a table, a verdict, a picture and how to see more.

    Args:
        seed: of the world and of the agents; the three variants share both.
        out: folder to make, for `demo.json`, `demo.png` and `runs/`; if None, the first free of `demo`, `demo-2`, ...
        workers: processes at once; one for each variant if None, even where cores are fewer: they are shared evenly.

    Returns:
        The path of `demo.json`.

    Raises:
        FileExistsError: there is a demo in `out`.
        OSError: `out` cannot be written.
        RunsFailed: a run failed; the others are complete.
    """
    out = _new_folder(out)
    configs = plans(seed, out / "runs")
    began = time.monotonic()
    with display(labels=configs) as watch:
        done = run_all(configs, len(configs) if workers is None else workers, watch)
    seconds = time.monotonic() - began
    until = START * configs["none"]["steps_per_task"]
    outcomes = {label: read(run.folder, until) for label, run in done.items()}
    columns = configs["none"]["env"]["columns"]
    report = summary(outcomes, seed) | {"wall_seconds": round(seconds, 1), "versions": _versions()}
    draw(report["tasks"], columns, seed, out / "demo.png")
    (out / "demo.json").write_text(json.dumps(report, indent=2) + "\n")
    show(report, out, Console())
    return out / "demo.json"


def plans(seed: int, runs: Path) -> dict[str, dict[str, Any]]:
    """Return the plain config of each variant."""
    from lopgym.studies.compose import from_keywords

    common = {"seed": seed, "runs_dir": str(runs)}
    return {label: from_keywords(STUDY, **common, **departs).plain() for label, departs in VARIANTS.items()}


def read(folder: RunFolder, until: int) -> Outcome:
    """Read one run's numbers back from its `metrics.jsonl`; treatment begins after step `until`."""
    table = by_tag(read_metrics(folder.metrics))
    last = {column: last_layers(table, probe) for column, probe in SHOWN.items()}
    probes = {column: table[tags[0]][1][-1] for column, tags in last.items() if tags}
    return Outcome(table["task/final"][1], probes, repeatable(folder.metrics, until))


def summary(outcomes: Mapping[str, Outcome], seed: int) -> dict[str, Any]:
    """Return what `demo.json` says, apart from where and how fast it ran.

    `identical_before_treatment` compares all that the treated and the untreated run recorded until then, without
    tolerance: the two are one agent until the treatment begins, so that it alone can have made the difference.
    """
    tasks = {label: outcome.finals for label, outcome in outcomes.items()}
    fourths = {label: quarters(finals) for label, finals in tasks.items()}
    return {
        "seed": seed,
        "quarters": fourths,
        "verdict": verdict(fourths, TREATED),
        "identical_before_treatment": outcomes["none"].before == outcomes[TREATED].before,
        "probes": {label: outcome.probes for label, outcome in outcomes.items()},
        "tasks": tasks,
    }


def random_return(columns: int) -> float:
    """Return the expected return of a random player of Catch, exactly.

    The ball's column is uniform and independent of what the player does, so that wherever the paddle ends, it is below
    the ball with probability 1 / columns: (+1) / columns + (-1) (1 - 1 / columns) = 2 / columns - 1.

    >>> random_return(5)
    -0.6
    """
    return 2 / columns - 1


def draw(tasks: Mapping[str, Sequence[float]], columns: int, seed: int, path: Path) -> None:
    """Draw the return over tasks into the PNG `path`; a perfect player always catches, for a return of 1."""
    references = {"random policy": random_return(columns), "optimal policy": 1.0}
    title = f"DQN on Catch, pixels and actions permuted anew in every task (seed {seed})"
    figure = returns_per_task(tasks, references=references, treated=(TREATED, START), title=title)
    figure.savefig(path)


def show(report: Mapping[str, Any], out: Path, console: Console) -> None:
    """Print table, verdict and where to look further."""
    console.print(_table(report))
    console.print(f"\n{report['verdict']}", style="bold", soft_wrap=True, highlight=False)
    equal = "equals" if report["identical_before_treatment"] else "DIFFERS from"
    lines = [
        f"{TREATED} {equal} none, bit for bit, in every number recorded before its treatment.",
        f"seed {report['seed']}, {report['wall_seconds']:.0f} s; numbers in {out / 'demo.json'}",
        f"picture: {out / 'demo.png'}",
        f"see more: lopgym tensorboard {shlex.quote(str(out / 'runs'))}",
    ]
    console.print("\n".join(lines), soft_wrap=True, highlight=False)


def _table(report: Mapping[str, Any]) -> Table:
    table = Table(title="Return at the end of a task, mean over each quarter of the tasks", title_justify="left")
    table.add_column("variant")
    edges = quarter_edges(len(report["tasks"]["none"]))
    for column in [*(f"{first}-{last - 1}" for first, last in pairwise(edges)), *(f"{name}*" for name in SHOWN)]:
        table.add_column(column, justify="right")
    for label, means in report["quarters"].items():
        probes = report["probes"][label]
        values = [f"{probes[name]:.2f}" if name in probes else "-" for name in SHOWN]
        table.add_row(label, *(f"{mean:+.2f}" for mean in means), *values)
    table.caption = "* of the last hidden layer, at the end"
    table.caption_justify = "left"
    return table


def _new_folder(out: Path | None) -> Path:
    if out is None:
        numbered = (Path(f"demo-{n}") for n in count(2))
        out = next(folder for folder in chain([Path("demo")], numbered) if not folder.exists())
    if (out / "demo.json").exists() or (out / "runs").exists():
        raise FileExistsError(f"{out} holds a demo already; choose another folder with --out, or remove this one")
    out.mkdir(parents=True, exist_ok=True)
    return out


def _versions() -> dict[str, str]:
    from lopgym.studies.provenance import provenance

    versions: dict[str, str] = provenance("cpu")["versions"]
    return versions
