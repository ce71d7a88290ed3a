"""Gathering: the runs that a comparison needs, those that are missing trained side by side."""

from __future__ import annotations

from collections.abc import Mapping

from lopgym.record import RunFolder
from lopgym.studies.config import Config
from lopgym.studies.parallel import run_all
from lopgym.studies.progress import display


def gather(plans: Mapping[str, Config], workers: int) -> dict[str, RunFolder]:
    """Train every plan of which there is no finished run yet; return the folder of each.

    Raises:
        RunsFailed: a run failed, or half of one is in the way.
    """
    from lopgym.studies.run import run_path  # imports torch

    folders = {label: RunFolder(run_path(plan)) for label, plan in plans.items()}
    missing = {label: plan.plain() for label, plan in plans.items() if not folders[label].finished}
    with display() as watch:
        run_all(missing, workers, watch)
    return folders
