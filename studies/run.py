"""One run: a config in, a folder out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from lopgym.agents import agents
from lopgym.agents.attach import Plasticity
from lopgym.agents.checking import Checked, checked
from lopgym.agents.fork import ForkProbe
from lopgym.agents.looking import Looking
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.null_calibration import NullCalibration
from lopgym.agents.spectra import SpectraProbe
from lopgym.agents.task_change import TaskChange
from lopgym.probes import probes
from lopgym.record import MetricsFile, Recorder, RunFolder, Sink, series
from lopgym.studies.board import TensorBoardSink
from lopgym.studies.compose import Config, from_keywords, variant_name
from lopgym.studies.evaluation import Evaluation
from lopgym.studies.moments import KeepMoments, Moment, agent_moves
from lopgym.studies.progress import Progress
from lopgym.studies.provenance import provenance
from lopgym.studies.reporting import KeepWeights, TaskReport, logger_into
from lopgym.studies.spectra import SpectraFile
from lopgym.studies.termination import Terminated
from lopgym.studies.worlds import training_world

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and its numbers read back from it."""

    path: Path

    @property
    def folder(self) -> RunFolder:
        """The names of the files."""
        return RunFolder(self.path)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config."""
        loaded: dict[str, Any] = yaml.safe_load(self.folder.config.read_text())
        return loaded

    @cached_property
    def checked_calls(self) -> dict[str, int]:
        """How many calls of each mitigation were checked, and found as promised."""
        found: dict[str, int] = json.loads(self.folder.about.read_text()).get("checked_calls", {})
        return found

    def series(self, tag: str) -> tuple[list[int], list[float]]:
        """Return steps and values of one tag, such as `task/final`: one value a task."""
        return series(self.folder.metrics, tag)


def run(study: str, *, on_progress: OnProgress | None = None, check: bool = False, **overrides: Any) -> Run:
    """Train one agent; the Python side of `lopgym train`.

    Args:
        study: name of a study, such as `catch_dqn`.
        on_progress: called now and then with how far the run is.
        check: hold every mitigation to what it promises, at every call; the run is the same, and slower.
        overrides: config values, nested as dicts or written with dots: `mitigation="redo"`, `seed=3`,
            `**{"agent.learning_rate": 1e-3}`.

    Returns:
        The finished run.

    Raises:
        ConfigError: the config is not valid.
        FileExistsError: there is a run in its folder already.
        PromiseBroken: with `check`, a mitigation did what it promised not to do.
    """
    return execute(from_keywords(study, **overrides), on_progress=on_progress, check=check)


def execute(
    config: Config, *, sinks: Sequence[Sink] = (), on_progress: OnProgress | None = None, check: bool = False
) -> Run:
    """Train what `config` says and leave a run folder behind; `sinks` get every value, too; `check` as in `run`."""
    torch.set_num_threads(1)  # with more, OpenMP spins: 13 to 24 times slower when the cores are busy
    folder = RunFolder(run_path(config))
    world = training_world(config)  # before the folder: a config that cannot run leaves none behind
    methods = build_mitigations(config)
    model = build_model(config, world, methods)
    methods = {**checked(methods)} if check else methods
    folder.create().write_config(config.plain())
    about = provenance(config.device)
    folder.write_about(about | {"status": "running"})
    board = TensorBoardSink(folder, config.plain(), config.tasks, config.steps_per_task)
    recorder = Recorder([MetricsFile(folder.metrics), board, *sinks])
    started, status = time.time(), "failed"
    try:
        model.set_logger(logger_into(recorder))
        with _plasticity(config, methods, recorder) as plasticity:
            callbacks = [*_reports(config, recorder, on_progress), plasticity, *_looks(config, recorder)]
            model.learn(config.tasks * config.steps_per_task, callback=callbacks, log_interval=None)
        status = "finished"
        board.finish(_summary(Run(folder.path)))
    except (KeyboardInterrupt, Terminated):
        status = "interrupted"
        raise
    finally:
        recorder.close()
        world.close()
        about |= {"status": status, "wall_seconds": round(time.time() - started, 1)}
        folder.write_about(about | _checked_calls(methods))
    return Run(folder.path)


def _checked_calls(methods: Mapping[str, Mitigation]) -> dict[str, Any]:
    calls = {name: method.calls for name, method in methods.items() if isinstance(method, Checked)}
    return {"checked_calls": calls} if calls else {}


def run_path(config: Config) -> Path:
    """Return `runs/<study>/<variant>/seed-<n>` for a config."""
    return Path(config.runs_dir) / config.study / variant_name(config) / f"seed-{config.seed}"


def build_model(config: Config, world: VecEnv, methods: Mapping[str, Mitigation]) -> Any:
    """Build the agent of `config` around `world`, freshly initialised, its network shaped by `methods`."""
    name, options = _kind(config.agent)
    return agents.build(name, world, list(methods.values()), config.seed, config.device, **options)


def build_mitigations(config: Config) -> dict[str, Mitigation]:
    """Build the chosen mitigations by name, in order."""
    return {label: mitigations.build(name, **o) for label, (name, o) in _kinds(config.mitigation).items()}


def _kind(options: BaseModel) -> tuple[str, dict[str, Any]]:
    plain = options.model_dump()
    return plain.pop("kind"), plain


def _kinds(chosen: Mapping[str, BaseModel]) -> dict[str, tuple[str, dict[str, Any]]]:
    return {label: _kind(options) for label, options in chosen.items()}


def _reports(config: Config, recorder: Recorder, on_progress: OnProgress | None) -> list[BaseCallback]:
    """What looks at training, in order; it comes before `_plasticity`: a task is judged before the next one begins."""
    folder = RunFolder(run_path(config))
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


def _plasticity(config: Config, methods: Mapping[str, Mitigation], recorder: Recorder) -> Plasticity:
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


def _looks(config: Config, recorder: Recorder) -> list[ForkProbe | Looking]:
    """What looks deeper now and then; it comes behind `_plasticity`: a fork copies what that left of the agent."""
    told: dict[str, Any] = {"write": recorder.write, "seed": config.seed}
    spectra = SpectraFile(RunFolder(run_path(config)).spectra)
    looks: list[ForkProbe | Looking] = [
        ForkProbe(steps_per_task=config.steps_per_task, **config.fork.model_dump(), **told),
        NullCalibration(probes=_probes(config), **config.null_calibration.model_dump(), **told),
        SpectraProbe(every=config.spectra_every, keep=spectra.write, **told),
    ]
    return [look for look in looks if look.every]


def _probes(config: Config) -> dict[str, Callable[..., dict[str, float]]]:
    return {label: partial(probes[name].make, **o) for label, (name, o) in _kinds(config.probes).items()}


def _summary(run: Run) -> dict[str, float]:
    """The numbers that tell runs apart: the mean of `task/auc` and `task/final` over the last quarter of the tasks."""
    quarter = max(1, run.config["tasks"] // 4)
    values = {tag: run.series(tag)[1][-quarter:] for tag in ("task/auc", "task/final")}
    return {f"{tag} (last quarter)": sum(last) / len(last) for tag, last in values.items() if last}
