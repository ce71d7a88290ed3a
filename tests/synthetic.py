"""A made-up run, as a trainer would record it: for tests of what people look at."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path

from lopgym.record import MetricsFile, Recorder, RunFolder
from lopgym.studies.board import TensorBoardSink

TASKS, STEPS = 24, 800
VARIANTS = ("fresh", "none", "redo@14")


def health(variant: str, task: int) -> float:
    """Return how much of its plasticity the variant has at `task`, 0 to 1."""
    if variant == "fresh" or (variant == "redo@14" and task >= 14):
        return 1.0
    return 1.0 / (1.0 + math.exp((task - 11) / 2.2))


def lines(
    variant: str, *, tasks: int = TASKS, steps: int = STEPS, reports: int = 8
) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield (step, values) of a run; the returns of `redo@14` before task 14 are those of `none`."""
    luck = random.Random(0 if variant != "fresh" else 1)
    for task in range(tasks):
        left = health(variant, task)
        seen = []
        for report in range(1, reports + 1):
            step = task * steps + report * steps // reports
            learned = 1.3 * left * (1 - math.exp(-4 * report / reports))
            seen.append(max(-1.0, min(1.0, -0.6 + learned + luck.gauss(0, 0.12))))
            yield step, {"task/index": task, "task/return": seen[-1]}
        yield step, {"task/auc": sum(seen) / reports, "task/final": sum(seen[-2:]) / 2, **_probes(variant, left, task)}


def _probes(variant: str, left: float, task: int) -> dict[str, float]:
    grown = 1.0 if variant == "fresh" else 1 + task / 16
    values = {}
    for layer, rank in (("q.hidden0", 22.0), ("q.hidden1", 13.0)):
        values[f"probe/dead_fraction/{layer}"] = 0.2 + 0.65 * (1 - left)
        values[f"probe/dormant_fraction/{layer}"] = 0.22 + 0.65 * (1 - left)
        values[f"probe/effective_rank/{layer}"] = 1 + rank * left
        values[f"probe/weight_norm/{layer}"] = 10 * grown
        values[f"probe/distance_from_init/{layer}"] = 8 * (grown - 0.6)
        values[f"probe/gradient_norm/{layer}"] = 0.3 * left + 0.02
    return values


def config(variant: str) -> dict[str, object]:
    """Return a plain config of the run."""
    mitigation = {"none": {}, "fresh": {"fresh": {}}, "redo@14": {"redo": {"tau": 0.1, "active_from": 14}}}
    return {
        "study": "catch_dqn",
        "tasks": TASKS,
        "steps_per_task": STEPS,
        "seed": 0,
        "agent": {"kind": "dqn", "learning_rate": 3e-3, "batch_size": 32, "hidden": [32, 32]},
        "mitigation": mitigation.get(variant, {}),
    }


def record(runs: Path, variant: str, *, tasks: int = TASKS, steps: int = STEPS) -> RunFolder:
    """Record the whole run under `runs`, and return its folder."""
    folder = RunFolder(runs / "catch_dqn" / variant / "seed-0").create()
    folder.write_config(config(variant))
    board = TensorBoardSink(folder, config(variant), tasks, steps)
    recorder = Recorder([MetricsFile(folder.metrics), board])
    for step, values in lines(variant, tasks=tasks, steps=steps):
        recorder.write(step, values)
    board.finish({"task/final (last quarter)": health(variant, tasks - 1)})
    recorder.close()
    folder.write_about({"status": "done"})
    return folder
