"""Cadence: how often a study can afford to look at its network, from one measured run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from lopgym.record import series
from lopgym.studies.compose import from_keywords
from lopgym.studies.run import execute

SHARE = 0.05  # of training CPU that probing may take
TASKS, LOOKS = 2, 20  # measured: so many tasks, and about so many looks in them
SPENT = "time/probes_cpu_seconds"


@dataclass(frozen=True)
class Cadence:
    """What looking and training cost on this machine.

    Args:
        look: CPU seconds of one measurement of the study's probes.
        step: CPU seconds of training an env step, probes apart.
    """

    look: float
    step: float

    def share(self, every: int) -> float:
        """Return the share of the CPU time of training and probing that goes to probing every so many env steps.

        >>> Cadence(look=0.25, step=0.25).share(3)
        0.25
        """
        return self.look / (self.look + self.step * every) if every else 0.0

    @property
    def proposal(self) -> int:
        """The least number 1, 2 or 5 times a power of ten of env steps at which probing takes at most `SHARE`.

        >>> Cadence(look=0.01, step=0.001).proposal
        200
        """
        return next(every for every in _round_numbers() if self.share(every) <= SHARE)

    def text(self, study: str, every: int) -> str:
        """Say it in two lines; `every` is what the study's config holds."""
        return (
            f"{study}: one look costs {1e3 * self.look:.1f} ms of CPU time, 1,000 env steps of training "
            f"{self.step * 1e3:.2f} s; probe_every: {every} is {100 * self.share(every):.1f} %\n"
            f"proposed: probe_every: {self.proposal} ({100 * self.share(self.proposal):.1f} % of the CPU time)"
        )


def calibrate(study: str) -> str:
    """Train two tasks of a study with its probes, measure what they cost, and propose a cadence in words.

    It only proposes: a run's cadence is a number in its config, so that no clock decides what a run measures.

    Raises:
        ConfigError: there is no such study.
        ValueError: it measured nothing.
    """
    config = from_keywords(study)
    steps = TASKS * config.steps_per_task
    short = {"tasks": TASKS, "probe_every": max(1, steps // LOOKS)}
    quiet = config.evaluation.model_copy(update={"every": 0})
    with TemporaryDirectory() as folder:
        measured = config.model_copy(update={**short, "evaluation": quiet, "runs_dir": Path(folder)})
        started = time.process_time()
        run = execute(measured)
        total = time.process_time() - started
        spent = series(run.folder.metrics, SPENT)[1]
    if not spent:
        raise ValueError(f"{study}: nothing was measured in {steps} env steps; it has no probes, or learns later")
    return Cadence(spent[-1] / len(spent), (total - spent[-1]) / steps).text(study, config.probe_every)


def _round_numbers() -> Iterator[int]:
    return (digit * 10**power for power in count() for digit in (1, 2, 5))
