"""Subjects: the agent of a run, of one of its checkpoints or of a Stable-Baselines3 zip, back in its world."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lopgym.agents.anatomy import anatomy_of
from lopgym.agents.weights import load_weights
from lopgym.record import RunFolder
from lopgym.seeding import derive
from lopgym.store import CheckpointError
from lopgym.studies.checks import beyond_weights
from lopgym.studies.compose import Config, from_file
from lopgym.studies.foreign_zip import first_line, load_trusted
from lopgym.studies.importing import is_imported, open_imported
from lopgym.studies.moments import Moment, read_moment
from lopgym.studies.run import build_mitigations, build_model
from lopgym.studies.worlds import still_world, training_world, world_options

_TASK = re.compile(r"task-(\d+)\.npz")


class DivergedError(Exception):
    """The weights are not finite: nothing can be measured of such a network but that."""

    exit_code = 5


@dataclass(frozen=True)
class Subject:
    """An agent to look into.

    Args:
        name: what to call it.
        model: the agent, in a world held still at the task.
        seed: of everything that looking draws.
        initial: parameter -> value at the start of training; None if nobody knows.
        metrics: `metrics.jsonl` of the run, if there is one.
        stem: path of the files that a look leaves behind, without their endings.
    """

    name: str
    model: Any
    seed: int
    initial: Mapping[str, Tensor] | None
    metrics: Path | None
    stem: Path


def open_subject(
    path: Path,
    *,
    task: int | None = None,
    env: str | None = None,
    trusted: bool = False,
    allow_import: Collection[str] | None = None,
) -> Subject:
    """Read an agent and put it into its world.

    Args:
        path: run folder, `task-<k>.npz` inside one, or zip of Stable-Baselines3.
        task: number of the task of a run; the last one with weights by default.
        env: id of the world of a zip, which does not say it.
        trusted: whether a zip may be unpickled: that runs whatever code its author put in.
        allow_import: packages that a run's world may import; None allows all.

    Raises:
        CheckpointError: nothing is there, or it is damaged, or of another network than its config says.
        ConfigError: the run's config is none, or its world would import what is not allowed.
        DivergedError: weights are not finite.
        ValueError: what was asked does not fit the kind of file.
    """
    torch.set_num_threads(1)
    subject = _read(path, task, env, trusted, allow_import)
    for name, parameter in subject.model.policy.named_parameters():
        if not parameter.isfinite().all():
            raise DivergedError(f"{path}: {name} holds numbers that are not finite; training has diverged")
    return subject


def _read(
    path: Path, task: int | None, env: str | None, trusted: bool, allow_import: Collection[str] | None
) -> Subject:
    if not path.exists():
        raise CheckpointError(path, "does not exist")
    if path.suffix == ".zip":
        if task is not None:
            raise ValueError(f"--task {task}: a zip knows no tasks; it is looked at in its world as that begins")
        return _of_zip(path, env, trusted, allow_import)
    if env is not None:
        raise ValueError(f"--env {env}: a run knows its world; the option is for zips of Stable-Baselines3")
    if is_imported(path):
        if task is not None:
            raise ValueError(f"--task {task}: an imported agent knows no tasks")
        return _of_import(path, allow_import)
    folder, weights, task = weights_in(path, task) if path.is_dir() else _of_checkpoint(path, task)
    return _subject(folder, weights, task, allow_import)


def weights_in(path: Path, task: int | None = None) -> tuple[RunFolder, Path, int]:
    """Return a run's folder, the weights that it kept at the end of `task`, by default the last one, and that task.

    Raises:
        CheckpointError: there is no run, or it has kept no weights of that task.
    """
    folder = RunFolder(path)
    if not folder.config.exists():
        raise CheckpointError(path, "is not a run folder: it has no config.yaml")
    kept = sorted(int(match[1]) for file in folder.checkpoints.glob("*") if (match := _TASK.fullmatch(file.name)))
    if not kept:
        raise CheckpointError(path, "has kept no weights: the run ended before its first task did")
    task = kept[-1] if task is None else task
    if task not in kept:
        raise CheckpointError(path, f"has no weights of task {task}; it has those of tasks {kept[0]} to {kept[-1]}")
    return folder, folder.checkpoints / f"task-{task}.npz", task


def _of_checkpoint(path: Path, task: int | None) -> tuple[RunFolder, Path, int]:
    folder = RunFolder(path.absolute().parent.parent)
    if not folder.config.exists():
        raise CheckpointError(path, f"is not in a run folder: {folder.config} does not exist")
    named = _TASK.fullmatch(path.name)
    if task is None and named is None:
        raise ValueError(f"{path.name} does not say its task: --task K, the world to look at it in")
    if named is not None and task not in (None, int(named[1])):
        raise ValueError(f"--task {task}: {path.name} is of task {named[1]}")
    return folder, path, int(named[1]) if named else int(task or 0)


def _subject(folder: RunFolder, weights: Path, task: int, allow_import: Collection[str] | None) -> Subject:
    config = from_file(folder.config, allow_import=allow_import)
    config = config.model_copy(update={"device": "cpu"})  # where there always is one
    if kind := beyond_weights(config):
        raise ValueError(f"{weights.name}: {kind} adds to the network what is not in its weights; they are half of it")
    seed = derive(config.seed, "probe", task)
    moment = read_moment(folder.metrics, (task + 1) * config.steps_per_task)
    world = training_world(_held(config, task, moment, seed))
    if "episode" in config.env.clocks.values():
        world.set_options({"episode": moment.episode})
    model = build_model(config, world, build_mitigations(config))
    initial = {name: p.detach().clone() for name, p in anatomy_of(model).network.named_parameters()}
    _load(model, weights)
    name = f"{config.study} / {config.variant} / seed {config.seed}, {weights.stem.replace('-', ' ')}"
    return Subject(name, model, seed, initial, folder.metrics, folder.path / f"probe-{weights.stem}")


def _held(config: Config, task: int, moment: Moment, seed: int) -> Config:
    """Return the config whose world stays as it is in `task`, with luck of its own."""
    held = still_world(config, task, moment) | {"world_seed": world_options(config)["world_seed"]}
    return config.model_copy(update={"env": config.env.model_copy(update=held), "seed": seed})


def _load(model: Any, weights: Path) -> None:
    damaged = CheckpointError(weights, "is damaged: it holds no readable arrays")
    if not zipfile.is_zipfile(weights):  # an .npz is one
        raise damaged
    try:
        load_weights(model, weights)
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError):
        raise damaged from None
    except RuntimeError as error:
        raise CheckpointError(weights, f"does not fit the run's config: {first_line(error)}") from None
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        normalizer.training = False


def _of_zip(path: Path, env: str | None, trusted: bool, allow_import: Collection[str] | None) -> Subject:
    model = load_trusted(path, env, trusted=trusted, allow_import=allow_import)
    return Subject(f"{path.name} in {env}", model, 0, None, None, path.with_suffix(".probe"))


def _of_import(path: Path, allow_import: Collection[str] | None) -> Subject:
    return Subject(path.name, open_imported(path, allow_import), 0, None, None, path / "probe")
