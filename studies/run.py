"""One run: a config in, a folder out."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from lopgym.agents import agents
from lopgym.agents.checking import Checked, checked
from lopgym.agents.finite_guard import NumericalError
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.record import MetricsFile, Recorder, RunFolder, series
from lopgym.store import Saved
from lopgym.strict_yaml import read
from lopgym.studies.beginning import Beginning
from lopgym.studies.board import TensorBoardSink
from lopgym.studies.callbacks import OnProgress, callbacks, kind, kinds, plasticity_of
from lopgym.studies.changes import changed
from lopgym.studies.checkpointing import Checkpointing, Part, parts_of
from lopgym.studies.compose import Config, from_keywords, variant_name
from lopgym.studies.folder_name import hold_inside
from lopgym.studies.locks import locked
from lopgym.studies.notices import notice
from lopgym.studies.provenance import provenance
from lopgym.studies.reporting import logger_into
from lopgym.studies.resume import Terms, config_of, differences, facts, finished, starting_point
from lopgym.studies.rollback import Rollbacks
from lopgym.studies.spectra import SpectraFile
from lopgym.studies.termination import Stop, Terminated, stoppable
from lopgym.studies.worlds import training_world


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
        return read(self.folder.config).data

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


class LastCheckpointLost(Exception):  # noqa: N818  an error in its name would say no more
    """A run is finished, and its last checkpoint could not be written."""

    exit_code = 6


def resume(
    path: Path,
    *,
    on_progress: OnProgress | None = None,
    check: bool = False,
    strict: bool = False,
    from_start: bool = False,
    changes: Mapping[str, Any] | None = None,
    allow_import: Collection[str] | None = None,
) -> Run:
    """Let a run that was cut off go on from its newest checkpoint, bit for bit; the Python side of `lopgym resume`.

    One that is finished can be made longer, `changes={"tasks": 30}`, and equals then the run that was as long from the
    beginning, unless exploration is a share of its length.

    Args:
        path: its folder.
        on_progress: as in `run`.
        check: as in `run`.
        strict: refuse to go on with other versions, threads or another device than before.
        from_start: begin again if it has kept nothing from which it could go on.
        changes: what is to be another from now on: more `tasks`, `checkpoint.every`, `checkpoint.keep`.
        allow_import: packages that the id of its world may import; None allows all.

    Returns:
        The finished run; if it was finished already, nothing is done.

    Raises:
        CannotResume: there is no run, or nothing from which it can go on, or not with such changes.
        ConfigError: the run's config is none, or changes are not valid.
        Locked: a process trains in that folder.
    """
    before = config_of(path, allow_import)
    config = changed(before, changes or {})
    if finished(RunFolder(run_path(before))) and config.tasks == before.tasks:
        notice(f"{path} is finished already: nothing is done")
        return Run(run_path(before))
    terms = Terms(strict, from_start, {key for key, _ in differences(before.plain(), config.plain())})
    return execute(config, on_progress=on_progress, check=check, terms=terms)


def execute(
    config: Config,
    *,
    on_progress: OnProgress | None = None,
    check: bool = False,
    terms: Terms | None = None,
) -> Run:
    """Train what `config` says and leave a run folder behind; a run in there that was cut off goes on.

    `check` is as in `run`, `terms` are those on which it may.
    """
    torch.set_num_threads(1)  # with more, OpenMP spins: 13 to 24 times slower when the cores are busy
    folder = RunFolder(run_path(config))
    hold_inside(folder.path, config.runs_dir)
    ready = _ready(config, check)  # before the folder: a config that cannot run leaves none behind
    go_on = f"lopgym resume {shlex.quote(str(folder.path))}" if config.checkpoint.every else ""
    with locked(folder.path), stoppable(go_on=go_on) as stop:
        keeper = _go_on(ready, terms or Terms(), stop, on_progress)
    if keeper.failure is not None:
        raise LastCheckpointLost(f"{folder.path} is finished, and its last checkpoint is not written: {keeper.failure}")
    return Run(folder.path)


@dataclass(frozen=True)
class _Ready:
    """A run that can begin; nothing of it is on the disk yet."""

    config: Config
    check: bool
    world: VecEnv
    model: Any
    methods: Mapping[str, Mitigation]
    about: Mapping[str, Any]


def _ready(config: Config, check: bool) -> _Ready:
    world, methods = training_world(config), build_mitigations(config)
    model = build_model(config, world, methods)
    return _Ready(config, check, world, model, {**checked(methods)} if check else methods, provenance(config.device))


def _go_on(ready: _Ready, terms: Terms, stop: Stop, on_progress: OnProgress | None) -> Checkpointing:
    """Train to the end, by way of as many rollbacks as the config allows."""
    folder = RunFolder(run_path(ready.config))
    rollbacks = Rollbacks(ready.config.guard.rollbacks, ready.config.seed)
    while True:
        start = starting_point(folder, ready.config, ready.about, terms)
        try:
            return _train(ready, Beginning(folder, ready.config, ready.about, start), rollbacks, stop, on_progress)
        except NumericalError as fault:
            rollbacks.hold(fault, folder)
        ready = _ready(ready.config, ready.check)


def _train(
    ready: _Ready, begin: Beginning, rollbacks: Rollbacks, stop: Stop, on_progress: OnProgress | None
) -> Checkpointing:
    config, folder = ready.config, begin.folder.create()
    if begin.start is None:
        begin()
    board = TensorBoardSink(folder, config.plain(), config.tasks, config.steps_per_task)
    metrics = MetricsFile(folder.metrics)
    recorder = Recorder([metrics, board])
    leave = partial(_leave, ready, begin, rollbacks, recorder, time.time())
    try:
        ready.model.set_logger(logger_into(recorder))
        with plasticity_of(config, ready.methods, recorder) as plasticity:
            attached = callbacks(config, folder, recorder, on_progress, plasticity)
            parts = parts_of(ready.model, attached, rollbacks.of(ready.model))
            keeper = _keeper(begin, parts, board, metrics, stop)
            _learn(ready.model, config, [keeper.at_the_end(), *attached, keeper], begin.start)
        board.finish(_summary(Run(folder.path)))
    except BaseException as error:
        with suppress(OSError):  # what went wrong first is told
            leave("interrupted" if isinstance(error, KeyboardInterrupt | Terminated) else "failed")
        raise
    leave("finished")
    return keeper


def _leave(
    ready: _Ready, begin: Beginning, rollbacks: Rollbacks, recorder: Recorder, started: float, status: str
) -> None:
    """Close everything, whatever else cannot be closed, and note how the run ended, if it had begun."""
    ended = {"status": status, "wall_seconds": round(time.time() - started, 1)}
    told = _checked_calls(ready.methods) | _went_back(rollbacks)
    with ExitStack() as leaving:
        if begin.done:
            leaving.callback(begin.folder.write_about, {**ready.about} | ended | told)
        leaving.callback(ready.world.close)
        leaving.callback(recorder.close)


def _keeper(
    begin: Beginning, parts: Mapping[str, Part], board: TensorBoardSink, metrics: MetricsFile, stop: Stop
) -> Checkpointing:
    """Make what keeps checkpoints: of all parts, and of how long the files of lines are."""
    folder = begin.folder
    offsets = {"metrics": metrics.offset, "spectra": SpectraFile(folder.spectra).offset}
    return Checkpointing(
        folder.checkpoints,
        parts,
        views={type(board).__name__: board},
        files=lambda: {name: offset() for name, offset in offsets.items()},
        about=facts(begin.about),
        stop=stop,
        start=begin.start,
        taken_back=begin,
        **begin.config.checkpoint.model_dump(),
    )


def _learn(model: Any, config: Config, callbacks: list[BaseCallback], start: Saved | None) -> None:
    done = 0 if start is None else start.step
    model.num_timesteps = done  # `learn` reckons from there
    total = config.tasks * config.steps_per_task
    model.learn(total - done, callback=callbacks, log_interval=None, reset_num_timesteps=start is None)


def _checked_calls(methods: Mapping[str, Mitigation]) -> dict[str, Any]:
    calls = {name: method.calls for name, method in methods.items() if isinstance(method, Checked)}
    return {"checked_calls": calls} if calls else {}


def _went_back(rollbacks: Rollbacks) -> dict[str, Any]:
    return {"rollbacks": rollbacks.told} if rollbacks.told else {}


def run_path(config: Config) -> Path:
    """Return `runs/<study>/<variant>/seed-<n>` for a config."""
    return Path(config.runs_dir) / config.study / variant_name(config) / f"seed-{config.seed}"


def build_model(config: Config, world: VecEnv, methods: Mapping[str, Mitigation]) -> Any:
    """Build the agent of `config` around `world`, freshly initialised, its network shaped by `methods`."""
    name, options = kind(config.agent)
    return agents.build(name, world, list(methods.values()), config.seed, config.device, **options)


def build_mitigations(config: Config) -> dict[str, Mitigation]:
    """Build the chosen mitigations by name, in order."""
    return {label: mitigations.build(name, **o) for label, (name, o) in kinds(config.mitigation).items()}


def _summary(run: Run) -> dict[str, float]:
    """The numbers that tell runs apart: the mean of `task/auc` and `task/final` over the last quarter of the tasks."""
    quarter = max(1, run.config["tasks"] // 4)
    values = {tag: run.series(tag)[1][-quarter:] for tag in ("task/auc", "task/final")}
    return {f"{tag} (last quarter)": sum(last) / len(last) for tag, last in values.items() if last}
