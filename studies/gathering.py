"""Gathering: the runs that a comparison needs, those that are missing trained side by side."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lopgym.record import RunFolder
from lopgym.studies.compose import from_keywords
from lopgym.studies.config import Config
from lopgym.studies.parallel import run_all
from lopgym.studies.progress import display


def gather(plans: Mapping[str, Config], workers: int) -> dict[str, RunFolder]:
    """Train every plan of which there is no finished run yet, half ones from where they were; return each folder.

    Raises:
        RunsFailed: a run failed, or half of one cannot go on.
    """
    from lopgym.studies.run import run_path  # imports torch

    folders = {label: RunFolder(run_path(plan)) for label, plan in plans.items()}
    missing = {label: plan.plain() for label, plan in plans.items() if not folders[label].finished}
    with display() as watch:
        run_all(missing, workers, watch)
    return folders


def gather_variants(
    study: str, variants: Mapping[str, Mapping[str, Any]], seeds: Sequence[int], out: Path, workers: int
) -> dict[str, list[RunFolder]]:
    """Gather the runs of a study's variants over seeds: label -> a folder a seed.

    Args:
        study: its name.
        variants: label -> config values by which it departs from the study.
        seeds: of the runs.
        out: folder of the runs.
        workers: processes at once.

    Raises:
        RunsFailed: a run failed.
    """
    plans = {
        f"{label} {seed}": from_keywords(
            study, **{"seed": seed, "runs_dir": str(out), "variant": label} | dict(departs)
        )
        for label, departs in variants.items()
        for seed in seeds
    }
    folders = gather(plans, workers)
    return {label: [folders[f"{label} {seed}"] for seed in seeds] for label in variants}


def command_line(about: str, studies: Sequence[str], *, seeds: str, out: str) -> argparse.ArgumentParser:
    """Return a parser of what all evidence is asked by: studies, `--seeds`, `--out`, `--workers`; the rest defaults."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("studies", nargs="*", default=[*studies], choices=[*studies], help="default: all")
    parser.add_argument("--seeds", type=Seeds, default=Seeds(seeds), help=f"first and last, such as {seeds}")
    parser.add_argument("--out", type=Path, default=Path(out), help="folder of the runs")
    parser.add_argument("--workers", type=int, default=2, help="processes at once")
    return parser


class Seeds(tuple[int, ...]):
    """Seeds written as first and last.

    >>> Seeds("0-4"), str(Seeds("0-4")), Seeds("7")
    ((0, 1, 2, 3, 4), '0-4', (7,))
    """

    def __new__(cls, written: str) -> Seeds:
        """Read them.

        Raises:
            ValueError: it is no number, and no two.
        """
        first, _, last = written.partition("-")
        return super().__new__(cls, range(int(first), int(last or first) + 1))

    def __str__(self) -> str:
        """Write them as they are read."""
        return f"{self[0]}-{self[-1]}" if len(self) > 1 else str(self[0])
