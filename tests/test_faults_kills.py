"""Runs killed by SIGKILL, at random moments, inside a save and for an hour, equal bit for bit those that were not."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lopgym.record import RunFolder
from lopgym.store import STAGES, load, newest
from lopgym.studies.compose import Config, from_keywords
from lopgym.studies.run import Run, run_path
from tests.fault_table import LEAST, MINUTES
from tests.runs import KILLED, Lives, assert_same, last, reached

EVERY, TASK = 96, 384
SIZES: dict[str, Any] = {
    "tasks": 3,
    "steps_per_task": TASK,
    "report_every": 24,
    "probe_every": 96,
    "checkpoint.every": EVERY,
}
DQN: dict[str, Any] = {
    "agent.learning_starts": 32,
    "agent.train_freq": 4,
    "agent.batch_size": 16,
    "agent.buffer_size": 500,
    "agent.target_update_interval": 50,
}
PPO: dict[str, Any] = {"agent.batch_size": 16, "agent.n_epochs": 3}
ONE, SOME = {"env.n_envs": 1}, {"env.n_envs": 3}
ONE_PPO, SOME_PPO = PPO | ONE | {"agent.n_steps": 48}, PPO | SOME | {"agent.n_steps": 16}
RECODED = {"action_order": {"kind": "count", "period": TASK}}
NOISY = RECODED | {"observation_noise": {"kind": "cycle", "values": [0.0, 0.1], "period": TASK}}
SCALED = {"observation_scale": {"kind": "cycle", "values": [1.0, 2.0], "period": TASK}}
CARTPOLE: dict[str, Any] = {"env.id": "CartPole-v1", "env.drifts": NOISY}
LANDER: dict[str, Any] = {"env.id": "LunarLander-v3", "env.drifts": RECODED}
HOPPER: dict[str, Any] = {"env.id": "Hopper-v5", "env.drifts": SCALED}

# Own worlds as native batches of one and of several copies; CartPole as a native batch, whose gravity drifts, and as
# Gymnasium's, in separate copies with journals; Box2D and MuJoCo as one and as several separate copies.
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "dqn-own-one": ("catch_dqn", DQN | ONE),
    "dqn-own-batch": ("catch_dqn", DQN | SOME),
    "ppo-own-one": ("label_bandit_ppo", ONE_PPO),
    "ppo-own-batch": ("label_bandit_ppo", SOME_PPO),
    "dqn-cartpole-batch": ("cartpole_gravity", DQN | SOME | {"agent": "dqn"}),
    "dqn-cartpole-copies": ("custom", DQN | SOME | CARTPOLE | {"agent": "dqn"}),
    "ppo-cartpole-batch": ("cartpole_gravity", SOME_PPO),
    "ppo-cartpole-copies": ("custom", SOME_PPO | CARTPOLE),
    "dqn-lander-one": ("custom", DQN | ONE | LANDER | {"agent": "dqn"}),
    "dqn-lander-copies": ("custom", DQN | SOME | LANDER | {"agent": "dqn"}),
    "ppo-hopper-one": ("custom", ONE_PPO | HOPPER),
    "ppo-hopper-copies": ("custom", SOME_PPO | HOPPER),
}
CONTINUOUS = {"probes": ["weight_norm", "dormant_fraction", "effective_rank"]}  # none that needs discrete actions
# What else a run does and has to remember, by seed.
RIDERS: list[dict[str, Any]] = [
    {"mitigation": "redo", "mitigation.redo.every": 20, "evaluation.every": TASK, "evaluation.episodes": 2},
    {"mitigation": ["cbp", "shrink_perturb"], "mitigation.cbp.maturity": 5, "mitigation.cbp.replacement_rate": 0.05},
    {"mitigation": ["snr", "plasticity_injection"], "normalize": {"observations": True, "rewards": True}},
    {
        "mitigation": "hare_tortoise",
        "fork": {"every": 1, "updates": 4, "repeats": 2, "samples": 16},
        "evaluation": {"every": TASK, "episodes": 2, "tasks": [0]},
    },
    {"mitigation": ["swr", "trac"], "null_calibration.every": 200, "null_calibration.networks": 2}
    | {"null_calibration.samples": 32, "spectra_every": 100},
]
FAST, SLOW = {("dqn-own-one", 1)}, {(name, seed) for seed, name in enumerate([*RUNS][1::2][:5])}


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    """Return what makes a process for each life of a run."""
    with Lives(tmp_path_factory.mktemp("lives") / "said.txt") as server:
        yield server


@cache
def _config(name: str, seed: int, runs: Path) -> Config:
    study, options = RUNS[name]
    rest = CONTINUOUS if "hopper" in name else {}
    return from_keywords(study, runs_dir=str(runs), seed=seed, **SIZES | options | rest | RIDERS[seed])


def _moved(config: Config, runs: Path) -> Config:
    return config.model_copy(update={"runs_dir": runs})


@pytest.fixture(scope="module")
def uninterrupted(lives: Lives, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what trains a run without interruption, once, and returns it and its config."""

    @cache
    def whole(name: str, seed: int) -> tuple[Config, Run]:
        config = _config(name, seed, tmp_path_factory.mktemp("whole"))
        assert lives.live(config.plain()) == 0, lives.log.read_text()[-2000:]
        return config, Run(run_path(config))

    return whole


def _marked(name: str, seed: object, *fast_or_slow: set[tuple[str, Any]]) -> list[Any]:
    fast, slow = fast_or_slow
    return [] if (name, seed) in fast else [pytest.mark.slow if (name, seed) in slow else pytest.mark.matrix]


def _kills(config: Config, luck: np.random.Generator) -> list[dict[str, Any]]:
    """Draw when a run is killed: two to four times while it trains, and once while it starts."""
    total = config.tasks * config.steps_per_task
    steps = sorted(luck.integers(1, int(0.6 * total), size=luck.integers(2, 5)))  # however fast: before its end
    kills = [{"step": int(step), "wait": luck.uniform(0, 0.04)} for step in steps]
    return [*kills[:1], {"step": 0, "wait": luck.uniform(0, 0.2)}, *kills[1:]]


def _redone(folder: RunFolder) -> int:
    """Return how many steps a killed run has to do again, as far as it has recorded them."""
    saved, skipped = newest(folder.checkpoints)
    assert skipped == []
    return reached(folder.metrics) - (saved.step if saved else 0)


CHAINS = [
    pytest.param(name, seed, id=f"{name}-{seed}", marks=_marked(name, seed, FAST, SLOW))
    for name in RUNS
    for seed in range(len(RIDERS))
]


@pytest.mark.fault("F1")
@pytest.mark.parametrize(("name", "seed"), CHAINS)
def test_killed_at_random_moments(name: str, seed: int, lives: Lives, uninterrupted: Any, tmp_path: Path) -> None:
    """Three to five times, each life in a process of its own; at most one interval is done again."""
    config, whole = uninterrupted(name, seed)
    config = _moved(config, tmp_path)
    folder = RunFolder(run_path(config))
    for kill in _kills(config, np.random.default_rng([zlib.crc32(name.encode()), seed])):
        assert lives.live(config.plain(), metrics=str(folder.metrics), **kill) == KILLED, lives.log.read_text()[-2000:]
        assert _redone(folder) <= EVERY
    assert lives.live(config.plain()) == 0, lives.log.read_text()[-2000:]
    assert_same(whole, Run(folder.path))


SAVED = 4 * EVERY  # the checkpoint that is not finished: there are older ones than are kept
STAGE_RUNS = {"dqn-own-one": 1, "ppo-cartpole-copies": 2}
FAST_STAGES, SLOW_STAGES = (
    {("dqn-own-one", "manifest"), ("dqn-own-one", "pruning")},
    {("ppo-cartpole-copies", "staged")},
)


@pytest.mark.fault("F2")
@pytest.mark.parametrize(
    ("name", "stage"),
    [
        pytest.param(name, stage, id=f"{name}-{stage}", marks=_marked(name, stage, FAST_STAGES, SLOW_STAGES))
        for name in STAGE_RUNS
        for stage in STAGES
    ],
)
def test_killed_inside_a_save(name: str, stage: str, lives: Lives, uninterrupted: Any, tmp_path: Path) -> None:
    """From its renaming on the new checkpoint is there, and the one before always; what is left behind goes."""
    config, whole = uninterrupted(name, STAGE_RUNS[name])
    config = _moved(config, tmp_path)
    folder = RunFolder(run_path(config))
    assert lives.live(config.plain(), stage=stage, step=SAVED) == KILLED, lives.log.read_text()[-2000:]
    assert last(folder).step == (SAVED if stage in {"renamed", "pruning"} else SAVED - EVERY)
    assert load(folder.checkpoints / f"ckpt-{SAVED - EVERY:012d}").step == SAVED - EVERY
    assert lives.live(config.plain()) == 0, lives.log.read_text()[-2000:]
    assert_same(whole, Run(folder.path))
    assert len([*folder.checkpoints.glob("ckpt-*")]) == config.checkpoint.keep
    assert [*folder.checkpoints.glob(".*")] == []


# The soak: a run, in processes that the command line starts, and beside it the same run without interruption.
LOPGYM = Path(sys.executable).with_name("lopgym")
SOAK = ["study=catch_dqn", "mitigation=[redo,cbp]", "normalize.rewards=true", "evaluation.episodes=4"]
TASKS, KEEP = 20, 2
ROUND = 20.0  # minutes that one run of it lasts
INTERVAL = 3.0  # s between two checkpoints
MEASURED = 10.0  # s over which the pace is taken
SETTLED = 60.0  # s after which a process has imported and drawn whatever it does, on a busy machine
FEW = 12  # lives, from which nothing is concluded about growth: they end while they still import
LEAST_GROWTH = 16 << 20  # bytes of memory that are none


@dataclass(frozen=True)
class Sample:
    """What a process takes at an age, in seconds: bytes of resident memory, and open files."""

    age: float
    memory: int
    files: int


@dataclass
class Process:
    """A command of `lopgym`, and what it takes while it runs.

    Args:
        words: of the command.
        log: file for what it says.
    """

    words: Sequence[str]
    log: Path
    samples: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start it."""
        self.began = time.monotonic()
        with self.log.open("a") as said:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            self.popen = subprocess.Popen([LOPGYM, *self.words], stdout=said, stderr=said, env=environment)

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self.began

    def sample(self) -> None:
        """Note what it takes."""
        proc = Path("/proc", str(self.popen.pid))
        with suppress(OSError):  # it has just ended
            pages, files = int((proc / "statm").read_text().split()[1]), len(os.listdir(proc / "fd"))
            if pages:
                self.samples.append(Sample(self.age, pages * resource.getpagesize(), files))

    def live(self, until: Callable[[], bool], *others: Process) -> int | None:
        """Watch it and others; return its exit code, or None if `until` comes first."""
        while self.popen.poll() is None and not until():
            for process in (self, *others):
                if process.popen.poll() is None:
                    process.sample()
            time.sleep(0.25)
        return self.popen.returncode

    def kill(self) -> None:
        """End it by SIGKILL, if it has not ended."""
        self.popen.kill()
        self.popen.wait()


def _sizes(steps_per_task: int, every: int, report: int) -> list[str]:
    counts = {"steps_per_task": steps_per_task, "checkpoint.every": every, "report_every": report}
    counts |= {"probe_every": report, "checkpoint.keep": KEEP, "tasks": TASKS}
    return [*SOAK, *(f"{key}={value}" for key, value in counts.items())]


def _pace(folder: Path) -> tuple[float, float]:
    """Return how many steps two runs side by side take a second, each, and how many seconds one takes to start."""
    folder.mkdir()
    words = ["train", *_sizes(100_000, 100_000, 200)]
    pair = [Process([*words, f"runs_dir={folder / name}"], folder / f"{name}.txt") for name in ("one", "other")]
    marks: list[tuple[int, float]] = []

    def long_enough() -> bool:
        found = [*folder.glob("one/*/*/*/metrics.jsonl")]
        step = reached(found[0]) if found else 0
        if step > (marks[-1][0] if marks else 200):
            marks.append((step, pair[0].age))
        return len(marks) > 1 and marks[-1][1] - marks[0][1] > MEASURED

    try:
        assert pair[0].live(long_enough) is None, pair[0].log.read_text()[-2000:]
    finally:
        for process in pair:
            process.kill()
    (first, began), (final, ended) = marks[0], marks[-1]
    speed = (final - first) / (ended - began)
    return speed, max(0.0, began - first / speed)


def _planned(minutes: float, between: tuple[float, float], speed: float, start: float) -> list[str]:
    """Return the words of a run that lasts about so long if it is killed so often."""
    life = sum(between) / 2
    useful = max(0.2, (life - start - INTERVAL / 2) / life)
    steps_per_task = max(200, int(speed * 60 * minutes * useful / TASKS))
    every = max(50, round(speed * INTERVAL))
    return _sizes(steps_per_task, every, every)


def grows(values: Sequence[float], least: float = 0.0) -> bool:
    """Whether the last third of `values` is, by its median, larger than the first by a tenth and more than `least`."""
    third = max(1, len(values) // 3)
    first, final = statistics.median(values[:third]), statistics.median(values[-third:])
    return final > first * 1.1 and final - first > least


def _debris(folder: RunFolder) -> tuple[int, int]:
    """Return how many checkpoints there are, and how many things that are none and will not stay."""
    names = os.listdir(folder.checkpoints)
    return sum(name.startswith("ckpt-") for name in names), sum(name.startswith(".") for name in names)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _only(runs: Path) -> RunFolder:
    (config,) = runs.glob("*/*/*/config.yaml")
    return RunFolder(config.parent)


def _checkpoints(runs: Path) -> set[Path]:
    return {*runs.glob("*/*/*/checkpoints/ckpt-*")}


def _due(life: Process, span: float, runs: Path, kept: set[Path], end: float) -> bool:
    """Whether a life has lasted so long, and got somewhere: a machine may be so busy that it hardly begins."""
    return time.monotonic() > end or (life.age > span and _checkpoints(runs) != kept)


def _lives(killed: Path, words: list[str], between: tuple[float, float], end: float, whole: Process) -> list[Process]:
    """Let a run live, be killed and go on until it has come to its end; return its lives."""
    luck, lives = np.random.default_rng(16), list[Process]()
    train = ["train", *words, f"runs_dir={killed}"]
    while time.monotonic() < end:
        kept = _checkpoints(killed)
        order = ["resume", str(_only(killed).path)] if kept else train
        life, span = Process(order, killed.with_suffix(".txt")), luck.uniform(*between)
        code = life.live(partial(_due, life, span, killed, kept, end), whole)
        life.kill()
        lives.append(life)
        if code is not None:
            assert code == 0, life.log.read_text()[-2000:]
            return lives
        for folder in killed.glob("*/*/*/checkpoints"):
            checkpoints, debris = _debris(RunFolder(folder.parent))
            assert checkpoints <= KEEP + 1
            assert debris <= 1
    raise AssertionError(f"{len(lives)} lives were too few")


def _soaked(folder: Path, minutes: float, between: tuple[float, float], seed: int) -> int:
    """Return how many kills a run has survived that takes about so long; what it took is written into `folder`."""
    folder.mkdir()
    speed, start = _pace(folder / "pace")
    words = [*_planned(minutes, between, speed, start), f"seed={seed}"]
    whole = Process(["train", *words, f"runs_dir={folder / 'whole'}"], folder / "whole.txt")
    try:
        lives = _lives(folder / "killed", words, between, time.monotonic() + 60 * (2 * minutes + 5), whole)
        assert whole.live(lambda: whole.age > 60 * (3 * minutes + 5)) == 0, whole.log.read_text()[-2000:]
    finally:
        whole.kill()
    assert len(lives) > 2, "hardly killed"
    one, other = _only(folder / "whole"), _only(folder / "killed")
    _write_down(folder / "soak.json", [whole, *lives], {"whole": _size(one.path), "killed": _size(other.path)})
    assert_same(Run(one.path), Run(other.path))
    assert _debris(other) == _debris(one) == (KEEP, 0)
    assert _size(other.path) < 1.2 * _size(one.path) + (1 << 20)
    _hold_bounded(whole, lives)
    return len(lives) - 1


def _hold_bounded(whole: Process, lives: Sequence[Process]) -> None:
    """Hold memory and open files not to grow: within the life that was never interrupted, and from life to life."""
    settled = [sample for sample in whole.samples if sample.age > SETTLED]
    if whole.samples[-1].age > 5 * SETTLED:  # else much of its last third is the end, at which figures are drawn
        assert not grows([sample.memory for sample in settled], LEAST_GROWTH)
        assert not grows([sample.files for sample in settled])
    if len(lives) > FEW:
        assert not grows([max(sample.memory for sample in life.samples) for life in lives], LEAST_GROWTH)
        assert not grows([statistics.median(sample.files for sample in life.samples) for life in lives])


def _write_down(path: Path, processes: Sequence[Process], sizes: dict[str, int]) -> None:
    told = [
        {"command": life.words[0], "seconds": round(life.samples[-1].age, 1)}
        | {"memory": [sample.memory for sample in life.samples[::40]]}
        | {"files": statistics.median(sample.files for sample in life.samples)}
        for life in processes
    ]
    path.write_text(json.dumps({"kills": len(processes) - 2, "bytes": sizes, "processes": told}, indent=1) + "\n")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([100.0, 103.0, 99.0] * 20, False, id="noise"),
        pytest.param([100.0 + i for i in range(60)], True, id="leak"),
        pytest.param([14.0] * 59 + [15.0], False, id="one file for a moment"),
        pytest.param([14.0] * 30 + [16.0] * 30, True, id="two files that stay"),
    ],
)
def test_growth_would_be_seen(values: list[float], expected: bool) -> None:
    """Not noise, not a peak."""
    assert grows(values) is expected


@pytest.mark.parametrize(
    ("minutes", "between"),
    [
        pytest.param(1.0, (12.0, 24.0), id="a minute", marks=pytest.mark.slow),
        pytest.param(float(MINUTES), (20.0, 60.0), id="long", marks=[pytest.mark.matrix, pytest.mark.fault("F16")]),
    ],
)
def test_soak(minutes: float, between: tuple[float, float], tmp_path: Path, survived: Callable[[int], None]) -> None:
    """The command line goes on after each kill; all is equal in the end; disk, memory and open files are bounded.

    One run after the other, until the time is over: how fast they get on hangs on what else the machine does. Of a
    minute only the disk is looked at: there is nothing to say about growth.
    """
    end, kills = time.monotonic() + 60 * minutes, list[int]()
    while not kills or time.monotonic() < end:
        left = max(min(minutes, LEAST), (end - time.monotonic()) / 60)  # the last round is not hardly killed, either
        kills.append(_soaked(tmp_path / f"round-{len(kills)}", min(ROUND, left), between, seed=len(kills)))
    survived(sum(kills))
