"""Export: the agent of a run, for those who have Stable-Baselines3 or only PyTorch, and perhaps not lopgym."""

from __future__ import annotations

import base64
import io
import json
import pickletools
import sys
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv

from lopgym.agents.agent_state import restore
from lopgym.agents.finite_guard import check_parameters
from lopgym.agents.plain import live
from lopgym.agents.stock import Stock, become_stock
from lopgym.agents.weights import load_weights
from lopgym.record import RunFolder
from lopgym.store import CheckpointError, Saved, load, newest
from lopgym.store.manifest import name_of
from lopgym.studies.checks import beyond_weights
from lopgym.studies.compose import Config, from_file
from lopgym.studies.foreign_zip import first_line
from lopgym.studies.notices import notice
from lopgym.studies.provenance import provenance
from lopgym.studies.run import build_mitigations, build_model
from lopgym.studies.subjects import weights_in
from lopgym.studies.whole_folder import refuse_existing, write_whole
from lopgym.studies.worlds import training_world, world_options

ZIP, WEIGHTS, NORMALISER, ABOUT = "model.zip", "weights.pt", "normaliser.npz", "export.json"


@dataclass(frozen=True)
class Export:
    """What was written: the folder, and what its `export.json` says."""

    path: Path
    about: Mapping[str, Any]

    @property
    def lines(self) -> Iterator[str]:
        """What to tell whoever asked for it."""
        yield str(self.path)
        yield f"{ZIP} needs {', '.join(self.about['needs'])}"
        yield f"left out: {', '.join(self.about['left_out'])}"


@dataclass(frozen=True)
class _Source:
    """From where in a run its agent is taken: a checkpoint, or the weights that were kept at the end of a task."""

    kept: Saved | Path
    step: int
    task: int | None = None

    @property
    def path(self) -> Path:
        return self.kept if isinstance(self.kept, Path) else self.kept.path

    @property
    def name(self) -> str:
        return f"step-{self.step}" if self.task is None else f"task-{self.task}"


def export(
    path: Path,
    *,
    task: int | None = None,
    step: int | None = None,
    out: Path | None = None,
    allow_import: Collection[str] | None = None,
) -> Export:
    """Write the agent of a run as a zip of Stable-Baselines3 and as a plain `state_dict`; see `docs/export.md`.

    Args:
        path: folder of the run.
        task: number of the task at whose end the weights were kept.
        step: of the checkpoint; without both, the newest that can be read.
        out: folder to make; by default `export-step-<n>` or `export-task-<k>` in the run.
        allow_import: packages that the id of its world may import; None allows all.

    Raises:
        CheckpointError: there is no run, or not what was asked for, or it is damaged.
        ConfigError: the run's config is none, or its world would import what is not allowed.
        ValueError: both `task` and `step`; or a method keeps a part of the agent elsewhere than in its weights.
        FileExistsError: there is something at `out` already.
        OSError: it cannot be written; nothing is left of it.
    """
    if task is not None and step is not None:
        raise ValueError(f"--task {task} --step {step}: one of them, to say where in the run")
    folder = RunFolder(Path(path))
    config = _config(folder, allow_import)
    source = _source(folder, config, task, step)
    out = Path(out or folder.path / f"export-{source.name}")
    refuse_existing(out)
    with closing(training_world(config)) as world:
        model = _model(config.model_copy(update={"device": "cpu"}), world, source)
        stock = become_stock(model)
        files = {ZIP: _zip(model), WEIGHTS: _weights(model), **_statistics(model)}
        about = _about(config, source, stock, model, files)
    write_whole(out, files | {ABOUT: (json.dumps(about, indent=2) + "\n").encode()})
    return Export(out, about)


def _config(folder: RunFolder, allow_import: Collection[str] | None) -> Config:
    if not folder.config.exists():
        raise CheckpointError(folder.path, "is not a run folder: it has no config.yaml")
    config = from_file(folder.config, allow_import=allow_import)
    if kind := beyond_weights(config):
        whole = "what is not in its weights: a zip would be half of it"
        raise ValueError(f"{folder.path}: {kind} adds to the network {whole}")
    return config


def _source(folder: RunFolder, config: Config, task: int | None, step: int | None) -> _Source:
    if step is not None:
        return _Source(load(folder.checkpoints / name_of(step)), step)
    saved, skipped = newest(folder.checkpoints) if task is None else (None, [])
    for line in skipped:
        notice(f"warning: {line}; skipped")
    if saved is not None:
        return _Source(saved, saved.step)
    _, weights, task = weights_in(folder.path, task)
    return _Source(weights, (task + 1) * config.steps_per_task, task)


def _model(config: Config, world: VecEnv, source: _Source) -> Any:
    """Build the run's agent, and give it what was kept."""
    torch.set_num_threads(1)
    model = build_model(config, world, build_mitigations(config))
    try:
        if isinstance(source.kept, Path):
            load_weights(model, source.kept)
        else:
            restore(model, live(source.kept.tree["parts"]["agent"], device="cpu"))
    except (zipfile.BadZipFile, ValueError, LookupError, TypeError, AttributeError, EOFError, RuntimeError) as error:
        raise CheckpointError(source.path, f"is damaged, or not of this run: {first_line(error)}") from None
    model.num_timesteps = source.step
    check_parameters(model)
    return model


def _statistics(model: Any) -> dict[str, bytes]:
    """Return the file of the running statistics of observations, if the agent sees these standardised."""
    normalizer = model.get_vec_normalize_env()
    if normalizer is None or not normalizer.norm_obs:
        return {}
    rms, buffer = normalizer.obs_rms, io.BytesIO()
    bounds = {"epsilon": normalizer.epsilon, "clip": normalizer.clip_obs}
    np.savez(buffer, mean=rms.mean, var=rms.var, count=rms.count, **bounds)
    return {NORMALISER: buffer.getvalue()}


def _zip(model: Any) -> bytes:
    buffer = io.BytesIO()
    model.save(buffer)
    return buffer.getvalue()


def _weights(model: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save({name: tensor.detach().cpu() for name, tensor in model.policy.state_dict().items()}, buffer)
    return buffer.getvalue()


def _about(
    config: Config, source: _Source, stock: Stock | None, model: Any, files: Mapping[str, bytes]
) -> dict[str, Any]:
    classes = sorted(named_in(files[ZIP]))
    packages = {name.partition(".")[0] for name in classes} | {"stable_baselines3", "torch"}
    return {
        "format": "lopgym-export 1",
        "versions": provenance("cpu")["versions"],
        "study": config.study,
        "variant": config.variant,
        "seed": config.seed,
        "step": source.step,
        "task": (source.step - 1) // config.steps_per_task if source.step else 0,
        "from": source.path.name,
        "world": world_options(config)["id"],
        "algorithm": type(model).__name__,
        "network": "lopgym's" if stock is None else "stock",
        "names": {} if stock is None else {name: ours for name, ours in stock.names.items() if name != ours},
        "needs": sorted(packages - sys.stdlib_module_names),
        "classes": classes,
        "left_out": [*_left_out(config, source, stock, model)],
        "files": {name: {"bytes": len(data), "sha256": sha256(data).hexdigest()} for name, data in files.items()},
    }


def _left_out(config: Config, source: _Source, stock: Stock | None, model: Any) -> Iterator[str]:
    """Say what of the run is in none of the files: who trains on goes another way than the run would have."""
    yield from ("the world", "the random streams")
    if getattr(model, "replay_buffer", None) is not None:
        yield "the replay buffer"
    if isinstance(source.kept, Path) or (stock is not None and not stock.optimizer):
        yield "what the optimizer remembers"
    if config.normalize.rewards:
        yield "the statistics of rewards"
    yield from (f"the method {label}" for label in config.mitigation)


def named_in(zipped: bytes) -> set[str]:
    """Return the dotted names of all classes and functions that a zip's pickles ask for; nothing is unpickled."""
    with zipfile.ZipFile(io.BytesIO(zipped)) as parts:
        data = json.loads(parts.read("data"))
    pickles = (value[":serialized:"] for value in data.values() if isinstance(value, dict) and ":serialized:" in value)
    return {name for text in pickles for name in _globals(base64.b64decode(text))}


def _globals(pickled: bytes) -> Iterator[str]:
    """Yield `module.name` for each global of a pickle, read off its opcodes: the two texts pushed before it name it."""
    memo: dict[int, str | None] = {}
    texts, top = ["", ""], None
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "GLOBAL":
            yield str(argument).replace(" ", ".")
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(texts)
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = top
            continue
        elif "PUT" in opcode.name:
            memo[int(str(argument))] = top
            continue
        top = memo.get(int(str(argument))) if "GET" in opcode.name else argument if "UNICODE" in opcode.name else None
        texts = [texts[1], top] if top is not None else texts
