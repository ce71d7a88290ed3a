"""What only looks on: with it or without it, the training is the same to the last bit of the agent and of its luck."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnvWrapper, unwrap_vec_wrapper

from lopgym.agents.agent_state import state_of
from lopgym.agents.finite_guard import FiniteGuard
from lopgym.agents.luck import state_of_luck
from lopgym.agents.plain import plain
from lopgym.envs.journal import Journals
from lopgym.probes import probes
from lopgym.record import read_metrics
from lopgym.studies import callbacks, run, worlds
from lopgym.studies.compose import Config, from_keywords
from lopgym.studies.config import entries
from lopgym.studies.progress import Progress
from lopgym.studies.run import Run, execute

# Units that fall silent at random and units that are replaced by what they say: probes could disturb both.
EVERY_STUDY: dict[str, Any] = {
    "tasks": 2,
    "probe_every": 0,
    "checkpoint.every": 0,
    "evaluation.every": 0,
    "mitigation": ["dropout", "cbp"],
    "normalize": {"observations": True, "rewards": True},
}
SMALL_PPO: dict[str, Any] = {"agent.n_epochs": 3, "agent.batch_size": 32}
STUDIES: dict[str, dict[str, Any]] = {
    "catch_dqn": {"steps_per_task": 80, "agent.learning_starts": 20, "agent.batch_size": 16},
    "label_bandit_ppo": {"steps_per_task": 128, "env.n_envs": 16} | SMALL_PPO,
    "custom": {"steps_per_task": 128, "env.n_envs": 2, "env.id": "CartPole-v1", "agent.n_steps": 32} | SMALL_PPO,
}
SOME = ("dormant_fraction", "policy_entropy", "weight_norm")
AGENTS = ("catch_dqn", "label_bandit_ppo")  # a DQN and a PPO
MEASURED = ("t", "time")  # seconds, the only things that differ from one training to the next


@dataclass(frozen=True)
class Trained:
    """A training that is over: tags and files that it left, whether it was checked, how often it told, its agent."""

    tags: frozenset[str]
    files: frozenset[str]
    checked: bool
    told: int
    model: Any

    def wrote(self, start: str) -> bool:
        """Say whether there is a tag that starts so."""
        return any(tag.startswith(start) for tag in self.tags)

    @property
    def copies(self) -> Any:
        """The vector environment under all of Stable-Baselines3's wrappers."""
        env = self.model.get_env()
        while isinstance(env, VecEnvWrapper):
            env = env.venv
        return env.venv


@dataclass(frozen=True)
class Observer:
    """Something that looks on.

    Args:
        seen: whether it did, which is asked of trainings without it, too.
        options: changes of the config that turn it on, option by option.
        without: what stands in for its parts where it is off and no option says so: (module, name) to substitute.
        check, progress: whether the run is called so.
    """

    seen: Callable[[Trained], bool]
    options: Mapping[str, Any] = field(default_factory=dict)
    without: Mapping[tuple[Any, str], Any] = field(default_factory=dict)
    check: bool = False
    progress: bool = False


class _Idle(BaseCallback):
    """A callback that does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def _on_step(self) -> bool:
        return True


class _NoBoard:
    """A sink that keeps nothing."""

    def __init__(self, *_: Any) -> None: ...

    def write(self, step: int, values: Mapping[str, float]) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

    def finish(self, summary: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def _unguarded(venv: Any, **_: Any) -> Any:
    return venv


OBSERVERS: dict[str, Observer] = {
    "some probes": Observer(lambda it: it.wrote("probe/weight_norm/"), {"probes": SOME, "probe_every": 30}),
    "evaluation": Observer(lambda it: it.wrote("eval/"), {"evaluation": {"every": 40, "episodes": 3}}),
    "fork": Observer(
        lambda it: it.wrote("probe/fork/"), {"fork": {"every": 2, "updates": 3, "repeats": 2, "samples": 8}}
    ),
    "null_calibration": Observer(
        lambda it: it.wrote("null/"),
        {"null_calibration": {"every": 100, "networks": 2, "samples": 16}, "probes": SOME},
    ),
    "spectra": Observer(lambda it: "spectra.jsonl" in it.files, {"spectra_every": 100}),
    "checkpoints": Observer(
        lambda it: any(name.startswith("ckpt-") for name in it.files), {"checkpoint": {"every": 30}}
    ),
    "reports": Observer(
        lambda it: it.wrote("task/return") or it.told > 0,
        {"report_every": 20},
        {(callbacks, "TaskReport"): _Idle},
        progress=True,
    ),
    "weights": Observer(lambda it: "task-0.npz" in it.files, without={(callbacks, "KeepWeights"): _Idle}),
    "guard": Observer(
        lambda it: unwrap_vec_wrapper(it.model.get_env(), FiniteGuard) is not None,
        without={(worlds, "FiniteGuard"): _unguarded, (callbacks, "GuardUpdates"): _Idle},
    ),
    "tensorboard": Observer(
        lambda it: any(name.startswith("events.") for name in it.files), without={(run, "TensorBoardSink"): _NoBoard}
    ),
    "check": Observer(lambda it: it.checked, check=True),
}
JOURNAL = Observer(
    lambda it: isinstance(it.copies, Journals), without={(worlds, "resumable"): lambda copies: copies}
)  # of separate copies alone
OBSERVERS_OF_CUSTOM = OBSERVERS | {"journal": JOURNAL}


def _of_probe(name: str) -> Observer:
    return Observer(lambda it: it.wrote(f"probe/{name}/"), {"probes": (name,), "probe_every": 30})


def _everyone(study: str) -> dict[str, Observer]:
    return OBSERVERS_OF_CUSTOM if study == "custom" else OBSERVERS


@cache
def _quiet(study: str) -> Config:
    """Return the config in which nothing looks on that an option could turn off."""
    return from_keywords(study, **EVERY_STUDY | STUDIES[study] | {"probes": []})


def _changed(config: Config, options: Mapping[str, Any]) -> Config:
    """Return a config with other values, nested ones option by option; probes by name, with their defaults."""
    news = {
        name: {one: entries("probes")[one]() for one in value}
        if name == "probes"
        else getattr(config, name).model_copy(update=value)
        if isinstance(value, dict)
        else value
        for name, value in options.items()
    }
    return config.model_copy(update=news)


def _trained(study: str, on: Mapping[str, Observer]) -> Trained:
    """Train with these and nobody else looking on."""
    config, models, told = _quiet(study), list[Any](), list[Progress]()
    for one in on.values():
        config = _changed(config, one.options)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for name, one in _everyone(study).items():
            for place, substitute in one.without.items() if name not in on else ():
                patch.setattr(*place, substitute)
        build = run.build_model
        patch.setattr(run, "build_model", lambda *args: models.append(build(*args)) or models[-1])
        done = execute(
            config.model_copy(update={"runs_dir": Path(folder)}),
            check=any(one.check for one in on.values()),
            on_progress=told.append if any(one.progress for one in on.values()) else None,
        )
        return _left_by(done, models[-1], len(told))


def _left_by(done: Run, model: Any, told: int) -> Trained:
    tags = frozenset(tag for _, values in read_metrics(done.folder.metrics) for tag in values)
    files = frozenset(path.name for path in done.path.rglob("*"))
    return Trained(tags, files, bool(done.checked_calls), told, model)


def _digest(trained: Trained) -> str:
    """Return a hash of the agent, its normaliser, its replay, the random streams and the world, seconds apart."""
    model, digest = trained.model, hashlib.sha256()
    everything = {"agent": state_of(model), "luck": state_of_luck(model), "clipping": model.max_grad_norm}
    if isinstance(trained.copies, Journals) or not hasattr(trained.copies, "state_dict"):
        everything["world"] = [env.unwrapped.np_random.bit_generator.state for env in trained.copies.unwrapped.envs]
    else:
        everything["world"] = trained.copies.state_dict()
    _feed(digest, plain(everything))
    return digest.hexdigest()


def _feed(digest: Any, tree: Any) -> None:
    if isinstance(tree, Mapping):
        for key in sorted(tree.keys() - {*MEASURED}, key=str):
            digest.update(str(key).encode())
            _feed(digest, tree[key])
    elif isinstance(tree, list | tuple):
        digest.update(str(len(tree)).encode())
        for one in tree:
            _feed(digest, one)
    elif isinstance(tree, np.ndarray):
        digest.update(f"{tree.dtype} {tree.shape}".encode() + tree.tobytes())
    else:
        digest.update(repr(tree).encode())


@cache
def _unwatched(study: str) -> str:
    """Return the digest of the training that nobody looks on at; that nobody does is looked at, too."""
    alone = _trained(study, {})
    assert [name for name, one in _everyone(study).items() if one.seen(alone)] == []
    assert not alone.wrote("probe/")
    return _digest(alone)


def _assert_unnoticed(study: str, on: Mapping[str, Observer]) -> None:
    watched = _trained(study, on)
    assert [name for name, one in on.items() if not one.seen(watched)] == []
    assert _digest(watched) == _unwatched(study)


@pytest.mark.fault("F14")
@pytest.mark.parametrize("study", AGENTS)
def test_all_at_once_are_not_noticed(study: str) -> None:
    """Everything of the registry of observers that there is, at work in one run."""
    _assert_unnoticed(study, OBSERVERS)


def _alone(name: str, study: str) -> Any:
    """All of one agent's are slow, of the other's the matrix."""
    return pytest.param(name, study, marks=pytest.mark.slow if study == "catch_dqn" else pytest.mark.matrix)


@pytest.mark.fault("F14")
@pytest.mark.parametrize(("name", "study"), [_alone(name, study) for name in OBSERVERS for study in AGENTS])
def test_who_looks_on_is_not_noticed(name: str, study: str) -> None:
    """Each alone: two of them could hide one another."""
    _assert_unnoticed(study, {name: OBSERVERS[name]})


@pytest.mark.fault("F14")
@pytest.mark.parametrize("name", ["journal", *(pytest.param(name, marks=pytest.mark.matrix) for name in OBSERVERS)])
def test_who_looks_on_at_separate_copies_is_not_noticed(name: str) -> None:
    """In a world of Gymnasium's, whose copies have journals, of which checkpoints are made."""
    _assert_unnoticed("custom", {one: OBSERVERS_OF_CUSTOM[one] for one in (name, "journal")})


@pytest.mark.fault("F14")
@pytest.mark.matrix
@pytest.mark.parametrize("study", AGENTS)
@pytest.mark.parametrize("name", [entry.name for entry in probes])
def test_a_probe_is_not_noticed(name: str, study: str) -> None:
    """Each that is registered, alone."""
    _assert_unnoticed(study, {name: _of_probe(name)})


DISTURBANCES: dict[str, Callable[[Any], Any]] = {
    "draws from torch": lambda model: torch.rand(()),
    "draws from NumPy": lambda model: np.random.random(),
    "draws from Python": lambda model: random.random(),
    "takes a random action": lambda model: model.action_space.sample(),
    "nudges a weight": lambda model: next(model.policy.parameters()).data.add_(1e-7),
    "turns dropout off": lambda model: model.policy.train(False),
}
PLANTED = [
    pytest.param(what, study, marks=pytest.mark.slow if study == "catch_dqn" else [])
    for what in DISTURBANCES
    for study in AGENTS
    if (what, study) != ("turns dropout off", "catch_dqn")  # whose next update, a rollout later, turns it on
]


@pytest.mark.parametrize(("what", "study"), PLANTED)
def test_who_disturbs_is_noticed(what: str, study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counterpart: a probe that does a little more than to look."""
    models, build, expected = list[Any](), run.build_model, _unwatched(study)

    def planted(kernels: Any) -> dict[str, float]:
        DISTURBANCES[what](models[-1])
        return {"q": 1.0}

    monkeypatch.setattr(run, "build_model", lambda *args: models.append(build(*args)) or models[-1])
    monkeypatch.setattr(callbacks, "_probes", lambda config: {"planted": planted})
    watched = _trained(study, {"planted": Observer(lambda it: True, {"probe_every": 30})})
    assert watched.wrote("probe/planted/q")
    assert _digest(watched) != expected
