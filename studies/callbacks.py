"""Callbacks: what a run attaches to its agent, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel
from stable_baselines3.common.callbacks import BaseCallback

from lopgym.agents.attach import Plasticity
from lopgym.agents.finite_guard import GuardUpdates, newest_kept
from lopgym.agents.fork import ForkProbe
from lopgym.agents.looking import Looking
from lopgym.agents.mitigations import Mitigation
from lopgym.agents.null_calibration import NullCalibration
from lopgym.agents.spectra import SpectraProbe
from lopgym.agents.task_change import TaskChange
from lopgym.probes import probes
from lopgym.record import Recorder, RunFolder
from lopgym.studies.compose import Config, variant_name
from lopgym.studies.evaluation import Evaluation
from lopgym.studies.moments import KeepMoments, Moment, agent_moves
from lopgym.studies.progress import Progress
from lopgym.studies.reporting import KeepWeights, TaskReport
from lopgym.studies.spectra import SpectraFile

OnProgress = Callable[[Progress], None]


def callbacks(
    config: Config, folder: RunFolder, recorder: Recorder, on_progress: OnProgress | None, plasticity: Plasticity
) -> list[BaseCallback]:
    """Return what looks at training and acts on it, in order."""
    guard = GuardUpdates(kept=partial(newest_kept, folder.checkpoints))
    before = _reports(config, folder, recorder, on_progress)
    return [*before, plasticity, guard, *_looks(config, folder, recorder)]


def _reports(
    config: Config, folder: RunFolder, recorder: Recorder, on_progress: OnProgress | None
) -> list[BaseCallback]:
    """What looks at training, in order, before `Plasticity` acts: a task is judged before the next one begins."""
    moments: dict[int, Moment] = {}
    kept = [KeepMoments(moments, config.steps_per_task, recorder.write)] if agent_moves(config.env.clocks) else []
    report = TaskReport(
        recorder,
        steps_per_task=config.steps_per_task,
        report_every=config.report_every,
        on_progress=on_progress,
        label=variant_name(config),
        tasks=config.tasks,
    )
    weights = KeepWeights(folder, config.steps_per_task)
    return [report, *kept, weights, Evaluation(config, recorder, folder, moments)]


def plasticity_of(config: Config, methods: Mapping[str, Mitigation], recorder: Recorder) -> Plasticity:
    """What looks into the network, and what acts on it."""
    return Plasticity(
        probes=_probes(config),
        mitigations=methods,
        task_change=TaskChange(**config.task_change.model_dump()),
        steps_per_task=config.steps_per_task,
        probe_every=config.probe_every,
        write=recorder.write,
        seed=config.seed,
    )


def _looks(config: Config, folder: RunFolder, recorder: Recorder) -> list[ForkProbe | Looking]:
    """What looks deeper now and then; it comes behind the `Plasticity`: a fork copies what that left of the agent."""
    told: dict[str, Any] = {"write": recorder.write, "seed": config.seed}
    spectra = SpectraFile(folder.spectra)
    looks: list[ForkProbe | Looking] = [
        ForkProbe(steps_per_task=config.steps_per_task, **config.fork.model_dump(), **told),
        NullCalibration(probes=_probes(config), **config.null_calibration.model_dump(), **told),
        SpectraProbe(every=config.spectra_every, keep=spectra.write, **told),
    ]
    return [look for look in looks if look.every]


def _probes(config: Config) -> dict[str, Callable[..., dict[str, float]]]:
    return {label: partial(probes[name].make, **o) for label, (name, o) in kinds(config.probes).items()}


def kind(options: BaseModel) -> tuple[str, dict[str, Any]]:
    """Return the name of a registered thing, and its options."""
    plain = options.model_dump()
    return plain.pop("kind"), plain


def kinds(chosen: Mapping[str, BaseModel]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the same of several, by label."""
    return {label: kind(options) for label, options in chosen.items()}
