"""Rollback: a run that met a number which must not be learned from goes back, and on with other luck, so often."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest

from lopgym.agents.finite_guard import NumericalError
from lopgym.record import read_metrics, repeatable
from lopgym.studies.compose import from_keywords
from lopgym.studies.progress import Progress
from lopgym.studies.run import Run, execute
from tests.living import CutOff
from tests.runs import assert_same

FAULT_AT = 500  # env steps, behind the checkpoint of step 400
SMALL: dict[str, Any] = {
    "env.id": "Spiteful-v0",
    "env.n_envs": 1,
    "agent": "dqn",
    "tasks": 2,
    "steps_per_task": 400,
    "agent.hidden": [8],
    "agent.learning_starts": 20,
    "agent.train_freq": 4,
    "probes": "none",
    "report_every": 100,
    "checkpoint.every": 200,
}


class _Spiteful(gym.Env[Any, Any]):
    """A chain whose reward is no number for whoever took a certain luck so far."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    when: ClassVar[Any] = staticmethod(lambda luck: False)

    def __init__(self) -> None:
        self._step, self._luck = 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self._step = self._luck = 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._step, self._luck = self._step + 1, (31 * self._luck + int(action) + 1) % 65521
        wrong = self._step == FAULT_AT and self.when(self._luck)
        return self._seen(), np.nan if wrong else float(action), False, self._step % 1000 == 0, {}

    def _seen(self) -> Any:
        return np.array([self._step % 7, self._luck % 5], np.float32)


@pytest.fixture(autouse=True)
def spiteful(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let there be the world, at peace."""
    gym.register("Spiteful-v0", _Spiteful)
    yield
    del gym.registry["Spiteful-v0"]


def _run(runs: Path, rollbacks: int, **changes: Any) -> Run:
    return execute(_config(runs, rollbacks), **changes)


def _config(runs: Path, rollbacks: int) -> Any:
    return from_keywords("custom", runs_dir=str(runs), variant="one", **SMALL | {"guard.rollbacks": rollbacks})


def _spite(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the world be spiteful to the first luck that it meets, and return what it met."""
    met: list[int] = []

    def when(luck: int) -> bool:
        met.append(luck)
        return luck == met[0]

    monkeypatch.setattr(_Spiteful, "when", staticmethod(when))
    return met


def test_a_run_goes_back_and_on_with_other_luck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says so, and run.json keeps it; what was recorded up to the checkpoint stays, no step is there twice."""
    straight = _run(tmp_path / "peace", 1)
    met = _spite(monkeypatch)
    run = _run(tmp_path / "spite", 1)
    assert len(set(met)) == 2
    (told,) = json.loads(run.folder.about.read_text())["rollbacks"]
    assert told.startswith("step 500: reward of copy 0 is nan, not finite; in Spiteful-v0")
    (said,) = capsys.readouterr().err.splitlines()
    kept = run.folder.checkpoints / "ckpt-000000000400"
    assert said == f"warning: {told}; kept last: {kept}; goes back to there, 1 of 1"
    steps = [step for step, values in read_metrics(run.folder.metrics) if "task/return" in values]
    assert steps == sorted(set(steps))
    mine, its = (repeatable(one.folder.metrics) for one in (run, straight))
    assert [line for line in mine if line[0] <= 400] == [line for line in its if line[0] <= 400]
    assert mine != its


def test_a_run_that_may_not_go_back_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default it may not; and not more often than it may, whatever its luck; nor without a checkpoint."""
    monkeypatch.setattr(_Spiteful, "when", staticmethod(lambda luck: True))
    for rollbacks in (0, 2):
        with pytest.raises(NumericalError, match="step 500"):
            _run(tmp_path / str(rollbacks), rollbacks)
        about = json.loads(next(tmp_path.glob(f"{rollbacks}/*/*/*/run.json")).read_text())
        assert (about["status"], len(about.get("rollbacks", []))) == ("failed", rollbacks)
    monkeypatch.setattr("tests.test_rollback.FAULT_AT", 100)
    with pytest.raises(NumericalError, match="kept last: nothing yet"):
        _run(tmp_path / "early", 1)


def test_the_first_random_steps_are_others_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of DQN's warm-up come from a stream of their own."""
    met: list[int] = []

    def when(luck: int) -> bool:
        met.append(luck)
        return True

    monkeypatch.setattr(_Spiteful, "when", staticmethod(when))
    monkeypatch.setitem(SMALL, "agent.learning_starts", 700)
    with pytest.raises(NumericalError):
        _run(tmp_path, 2)
    assert len({*met}) == len(met) == 3


@pytest.mark.parametrize("after", [500, 700])
def test_a_run_that_went_back_goes_on_bit_for_bit(after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off before a checkpoint was written with the new luck, it goes back once more; after that, it knows."""
    met = _spite(monkeypatch)
    whole = _run(tmp_path / "whole", 1)

    def watch(now: Progress) -> None:
        if now.step >= after and len(met) > 2:
            raise CutOff

    config = _config(tmp_path / "pieces", 1)
    met[1:] = []
    with pytest.raises(CutOff):
        execute(config, on_progress=watch)
    assert_same(whole, execute(config))
