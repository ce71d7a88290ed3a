"""The evidence behind the probes: which of them, read at the end of a task, foretells the return on the next one.

`python -m lopgym.studies.probe_evidence catch_dqn --seeds 0-9 --variants none redo@14 --out probe_evidence` trains what
is missing in `probe_evidence/` with every probe, and prints one table a study.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage  # type: ignore[import-untyped]  # scipy ships no types
from scipy.spatial.distance import squareform  # type: ignore[import-untyped]
from scipy.stats import rankdata  # type: ignore[import-untyped]

from lopgym.record import RunFolder, read_metrics
from lopgym.studies.compose import from_keywords
from lopgym.studies.evidence import COMPARISONS, REFERENCE
from lopgym.studies.gathering import command_line, gather_variants

Floats = NDArray[np.float64]
Folders = Sequence[Sequence[RunFolder]]  # a row a variant, a column a seed

PREFIX = "probe/"
SAME = 0.9  # of two probes, the magnitude of the rank correlation above which one is redundant
FEWEST = 5  # seeds for a null: they can be dealt anew in 44 ways, fewer in 9 or 2, whose percentiles say little
LIMITS = (2.5, 97.5)  # percentiles: an interval holds 95 %


@dataclass(frozen=True)
class Readings:
    """Probes at the end of task k beside the return on task k + 1, of V variants, S seeds and K pairs of tasks.

    Args:
        probes: tag -> (V, S, K), NaN where it was not measured.
        returns: on the next task, (V, S, K).
    """

    probes: Mapping[str, Floats]
    returns: Floats

    @cached_property
    def new(self) -> NDArray[np.bool_]:
        """Which pairs no earlier variant of the seed has, in all values: (V, S, K).

        A variant that is treated from a task on has its past in common with the untreated; it counts once.
        """
        every = np.stack([self.returns, *self.probes.values()])
        seen = [
            [np.array_equal(every[:, v, s, k], every[:, w, s, k], equal_nan=True) for w in range(v)]
            for v, s, k in np.ndindex(self.returns.shape)
        ]
        return ~np.array([any(repeats) for repeats in seen]).reshape(self.returns.shape)


@dataclass(frozen=True)
class Estimate:
    """A correlation with its interval, and the interval of the null.

    Args:
        value: of all pairs; NaN if one side does not vary.
        low: end of the bootstrap interval.
        high: the other end.
        null_low: end of what the same probe shows of the returns of runs that it was not measured in.
        null_high: the other end.
        seeds: of how many.
    """

    value: float
    low: float
    high: float
    null_low: float
    null_high: float
    seeds: int

    @property
    def beyond(self) -> bool:
        """Whether the value lies outside the null, of seeds enough to have one."""
        return self.seeds >= FEWEST and (self.value < self.null_low or self.value > self.null_high)

    def __str__(self) -> str:
        """Say it as the cells of a Markdown row."""
        if not np.isfinite(self.value):
            return "does not vary | | "
        star = "\\*" if self.beyond else ""
        interval, null = ([self.low, self.high], [self.null_low, self.null_high])
        return f"{self.value:+.2f}{star} | {_limits(interval)} | {_limits(null)}"


def correlations(sample: Floats) -> Floats:
    """Return Spearman's rank correlation of probe and return, raw and detrended, (2,).

    The detrended one is the partial rank correlation given the task, (r_xy - r_xt r_yt) / sqrt((1 - r_xt^2) (1 -
    r_yt^2)): of what is left of both ranks when their straight line over the rank of the task is taken off. Without it
    whatever grows with time foretells whatever falls with time. NaN where a column does not vary.

    Args:
        sample: probe, return and task, (N, 3).

    >>> correlations(np.array([[1.0, 2, 0], [2, 1, 0], [3, 4, 1], [4, 3, 1]])).round(2)
    array([ 0.6, -1. ])
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.corrcoef(rankdata(sample, axis=0), rowvar=False)
        raw, probe_trend, return_trend = r[0, 1], r[0, 2], r[1, 2]
        left = (1 - probe_trend**2) * (1 - return_trend**2)
        detrended = (raw - probe_trend * return_trend) / np.sqrt(left) if left > 1e-12 else np.nan
    return np.array([raw, detrended])


def foretells(readings: Readings, tag: str, *, draws: int = 1000, seed: int = 0) -> tuple[Estimate, Estimate]:
    """Say how well a probe foretells the return on the next task, raw and detrended for the task.

    The interval resamples seeds with replacement, each with all its variants and tasks: pairs of one seed share a
    world, and its variants a past, so that they are no independent witnesses. The null pairs each run with the
    returns of the same variant and task in another seed's run: it keeps all that time and treatment do, and
    nothing that the probe knows of its own run.

    Args:
        readings: of at least two seeds.
        tag: of the probe.
        draws: resamples, of each kind.
        seed: of the resampling.

    Returns:
        The raw and the detrended estimate.

    Raises:
        ValueError: there is one seed only.
    """
    seeds = readings.returns.shape[1]
    if seeds < 2:
        raise ValueError("an interval over seeds needs two of them at least; there is one")
    probe, kept = readings.probes[tag], readings.new & np.isfinite(readings.probes[tag]) & np.isfinite(readings.returns)
    tasks = np.broadcast_to(np.arange(probe.shape[2], dtype=float), probe.shape)

    def paired(rows: NDArray[np.int64], returns_of: NDArray[np.int64]) -> Floats:
        of_these = kept[:, rows]
        columns = probe[:, rows], readings.returns[:, returns_of], tasks[:, rows]
        sample = np.stack([column[of_these] for column in columns], axis=1)
        sample = sample[np.isfinite(sample).all(axis=1)]
        return correlations(sample) if len(sample) > 1 else np.full(2, np.nan)

    rng, own = np.random.default_rng(seed), np.arange(seeds)
    again = [paired(rows, rows) for rows in rng.integers(seeds, size=(draws, seeds))]
    others = [paired(own, strangers) for strangers in _derangements(rng, seeds, draws)]
    ends, null, value = _percentiles(again), _percentiles(others), paired(own, own)
    raw, detrended = (
        Estimate(value[i], ends[i, 0], ends[i, 1], null[i, 0], null[i, 1], seeds) for i in range(len(value))
    )
    return raw, detrended


def redundant(readings: Readings) -> list[tuple[str, ...]]:
    """Return groups of probes in which any two have a rank correlation beyond `SAME` in magnitude.

    By complete linkage over 1 - |rho|, on the pairs that count. Probes that do not vary, or were not always measured,
    are in none.
    """
    kept = readings.new
    columns = {tag: values[kept] for tag, values in readings.probes.items()}
    columns = {tag: x for tag, x in columns.items() if np.isfinite(x).all() and np.ptp(x) > 0}
    if len(columns) < 2:
        return []
    rho = np.corrcoef(rankdata(np.stack([*columns.values()], axis=1), axis=0), rowvar=False)
    apart = np.clip(1 - np.abs(rho), 0, 1)
    np.fill_diagonal(apart, 0)
    labels = fcluster(linkage(squareform(apart, checks=False), "complete"), 1 - SAME, "distance")
    groups = [tuple(tag for tag, at in zip(columns, labels, strict=True) if at == label) for label in np.unique(labels)]
    return [group for group in groups if len(group) > 1]


def read(folders: Folders, tag: str, tasks: int, steps_per_task: int) -> Readings:
    """Read what finished runs recorded.

    Args:
        folders: a row a variant, a column a seed.
        tag: the score of a task.
        tasks: of each run.
        steps_per_task: env steps over all copies; a probe belongs to the task whose step it was measured at.
    """
    runs = [[_by_task(folder, tasks, steps_per_task) for folder in row] for row in folders]
    tags = sorted({name for row in runs for run in row for name in run if name.startswith(PREFIX)})
    missing = np.full(tasks, np.nan)

    def cube(name: str) -> Floats:
        return np.array([[run.get(name, missing) for run in row] for row in runs])

    return Readings({name: cube(name)[:, :, :-1] for name in tags}, cube(tag)[:, :, 1:])


def train(study: str, variants: Sequence[str], seeds: Sequence[int], out: Path, workers: int) -> Readings:
    """Train what is missing in `out`, side by side and with every probe, and read every run.

    Raises:
        KeyError: nothing is compared in that study, or not that variant.
        RunsFailed: a run failed.
    """
    comparison = COMPARISONS[study]
    departs = {label: {"probes": "all"} | dict(comparison.variants[label]) for label in variants}
    folders = gather_variants(study, departs, seeds, out, workers)
    plan = from_keywords(study)
    return read([*folders.values()], comparison.tag, plan.tasks, plan.steps_per_task)


def table(readings: Readings, *, draws: int = 1000) -> Iterator[str]:
    """Yield the lines of a Markdown table, the strongest detrended correlation first, and of what is redundant."""
    found = {tag: foretells(readings, tag, draws=draws) for tag in readings.probes}
    yield "| probe | rho | 95 % | null 95 % | detrended | 95 % | null 95 % |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for tag in sorted(found, key=lambda tag: -np.nan_to_num(abs(found[tag][1].value), nan=-1.0)):
        raw, detrended = found[tag]
        yield f"| `{tag.removeprefix(PREFIX)}` | {raw} | {detrended} |"
    yield f"\n{int(readings.new.sum())} pairs of tasks. Groups in which any two have |rho| > {SAME}:\n"
    for group in redundant(readings):
        yield "- " + ", ".join(f"`{tag.removeprefix(PREFIX)}`" for tag in group)


def _by_task(folder: RunFolder, tasks: int, steps_per_task: int) -> dict[str, Floats]:
    """Return the last value in each task of each tag, (tasks,)."""
    last: dict[str, Floats] = {}
    for step, values in read_metrics(folder.metrics):
        task = (step - 1) // steps_per_task
        for tag, value in values.items() if 0 <= task < tasks else ():
            last.setdefault(tag, np.full(tasks, np.nan))[task] = value
    return last


def _derangements(rng: np.random.Generator, n: int, draws: int) -> Iterator[NDArray[np.int64]]:
    """Yield random permutations that leave nobody in place; one in e of all permutations is such."""
    while draws:
        drawn = rng.permutation(n)
        if (drawn != np.arange(n)).all():
            draws -= 1
            yield drawn


def _percentiles(drawn: Sequence[Floats]) -> Floats:
    """Return the ends of what was drawn, (2, 2): raw and detrended, low and high; draws without a value left out."""
    columns = np.array(drawn).T
    finite = [column[np.isfinite(column)] for column in columns]
    return np.array([np.percentile(column, LIMITS) if len(column) else (np.nan, np.nan) for column in finite])


def _limits(ends: Sequence[float]) -> str:
    return f"[{ends[0]:+.2f}, {ends[1]:+.2f}]"


def main(arguments: list[str] | None = None) -> None:
    """Gather and print the evidence for the studies named on the command line."""
    about = "Which probes foretell the return on the next task, and how surely."
    parser = command_line(about, [*COMPARISONS], seeds="0-9", out="probe_evidence")
    parser.add_argument("--variants", nargs="*", help=f"default: all of the study but {REFERENCE}")
    parser.add_argument("--draws", type=int, default=1000, help="resamples of each kind")
    asked = parser.parse_args(arguments)
    for study in asked.studies:
        variants = asked.variants or [name for name in COMPARISONS[study].variants if name != REFERENCE]
        readings = train(study, variants, asked.seeds, asked.out, asked.workers)
        print(f"\n## {study}: {', '.join(variants)}; seeds {asked.seeds}\n")
        print(*table(readings, draws=asked.draws), sep="\n")


if __name__ == "__main__":
    main()
