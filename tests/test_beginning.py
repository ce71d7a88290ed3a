"""A run that is cut off while it begins, or goes on, or becomes longer, goes on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from lopgym.record import RunFolder
from lopgym.studies import beginning
from lopgym.studies.compose import Config, from_keywords
from lopgym.studies.progress import Progress
from lopgym.studies.run import Run, execute, resume, run_path
from tests.living import CutOff
from tests.runs import assert_same

OPTIONS: dict[str, Any] = {
    "variant": "small",
    "steps_per_task": 120,
    "report_every": 40,
    "probes": "none",
    "spectra_every": 40,
    "evaluation.every": 0,
    "agent.hidden": [8],
    "agent.learning_starts": 20,
    "checkpoint.every": 80,
}
TASKS = 2
CHANGES = [(RunFolder, "write_config"), (RunFolder, "write_about"), (beginning, "cut")]  # the last one comes twice


def _config(runs: Path, tasks: int = TASKS) -> Config:
    return from_keywords("catch_dqn", runs_dir=str(runs), tasks=tasks, **OPTIONS)


def _train(runs: Path) -> None:
    execute(_config(runs))


def _lengthen(runs: Path) -> None:
    resume(run_path(_config(runs)), changes={"tasks": TASKS})


def _half(step: int) -> Callable[[Path], None]:
    def train(runs: Path) -> None:
        def watch(now: Progress) -> None:
            if now.step > step:
                raise CutOff

        with pytest.raises(CutOff):
            execute(_config(runs), on_progress=watch)

    return train


def _shorter(runs: Path) -> None:
    execute(_config(runs, TASKS - 1))


# What there is before it, and how its user starts it then.
WAYS: dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]] = {
    "begins": (Path.mkdir, _train),
    "begins again": (_half(50), _train),
    "goes on": (_half(200), _train),
    "becomes longer": (_shorter, _lengthen),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the run that was never cut off."""
    return execute(_config(tmp_path_factory.mktemp("whole")))


@pytest.mark.fault("F1")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("made", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 2, 3))])
def test_cut_off_while_it_begins(
    way: str, made: int, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With none, one, two or three of the changes made by which its folder becomes that of a run under way."""
    runs, (prepare, start) = tmp_path / "runs", WAYS[way]
    prepare(runs)
    done = count()

    def until_then(change: Callable[..., None]) -> Callable[..., None]:
        def cut_off(*what: Any) -> None:
            if next(done) == made:
                raise CutOff
            change(*what)

        return cut_off

    with monkeypatch.context() as patched:
        for place, name in CHANGES:
            patched.setattr(place, name, until_then(getattr(place, name)))
        with pytest.raises(CutOff):
            start(runs)
    assert next(done) == made + 1
    start(runs)
    assert_same(whole, Run(run_path(_config(runs))))
