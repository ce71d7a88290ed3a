"""A run that was cut off goes on as if nothing had happened, or says why it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lopgym.record import RunFolder
from lopgym.studies import cli
from lopgym.studies.compose import from_keywords
from lopgym.studies.progress import Progress
from lopgym.studies.resume import CannotResume
from lopgym.studies.run import execute, resume
from tests.runs import apart, assert_same, last

SMALL: dict[str, Any] = {"tasks": 3, "steps_per_task": 160, "probe_every": 40, "report_every": 40}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "dqn": ("catch_dqn", SMALL | {"agent.learning_starts": 20, "mitigation": ["redo", "cbp"], "evaluation.every": 160}),
    "dqn, standardised": (
        "catch_dqn",
        SMALL
        | {"agent.learning_starts": 20, "mitigation": "snr", "normalize": {"observations": True, "rewards": True}},
    ),
    "ppo": (
        "label_bandit_ppo",
        SMALL
        | {"steps_per_task": 512, "mitigation": ["shrink_perturb", "plasticity_injection"], "checkpoint.every": 256},
    ),
}


class _CutOff(BaseException):
    """What a run meets in the middle."""


def _cut_off(after: int) -> Any:
    def watch(now: Progress) -> None:
        if now.step > after:
            raise _CutOff

    return watch


def _config(name: str, runs: Path, **changes: Any) -> Any:
    study, options = RUNS[name]
    return from_keywords(study, runs_dir=str(runs), **options | {"checkpoint.every": 80} | changes)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_is_cut_off_twice_equals_the_one_that_was_not(name: str, tmp_path: Path) -> None:
    """In the middle of tasks, some way behind a checkpoint; it goes on by itself when it is started again."""
    whole = execute(_config(name, tmp_path / "whole"))
    pieces = _config(name, tmp_path / "pieces")
    total = pieces.tasks * pieces.steps_per_task
    for after in (total // 3, 2 * total // 3):
        with pytest.raises(_CutOff):
            execute(pieces, on_progress=_cut_off(after))
    went_on = execute(pieces)
    assert json.loads(went_on.folder.about.read_text())["status"] == "finished"
    assert_same(whole, went_on)


def test_a_difference_would_be_seen(tmp_path: Path) -> None:
    """Another seed is another run, in numbers and in states."""
    runs = [execute(_config("dqn", tmp_path, seed=seed)) for seed in (0, 1)]
    with pytest.raises(AssertionError):
        assert_same(*runs)
    mine, theirs = (last(run.folder) for run in runs)
    assert "/parts/agent/policy/q_net.q_net.0.weight/tensor" in {*apart(mine.tree, theirs.tree)}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_was_cut_off_behind_its_last_checkpoint_is_finished(name: str, tmp_path: Path) -> None:
    """Nothing is left to train: it ends as it did, and keeps what it kept."""
    whole, pieces = (execute(_config(name, tmp_path / folder)) for folder in ("whole", "pieces"))
    about = json.loads(pieces.folder.about.read_text())
    pieces.folder.write_about(about | {"status": "running"})
    assert_same(whole, execute(_config(name, tmp_path / "pieces")))


@pytest.fixture
def half(tmp_path: Path) -> RunFolder:
    """Return the folder of a run that was cut off behind some checkpoints."""
    config = _config("dqn", tmp_path)
    with pytest.raises(_CutOff):
        execute(config, on_progress=_cut_off(300))
    (about,) = tmp_path.glob("*/*/*/run.json")
    return RunFolder(about.parent)


def test_resume_takes_the_folder_wherever_it_is(half: RunFolder, tmp_path: Path) -> None:
    """Moved as a whole, with the names that say which run it is."""
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / "catch_dqn").rename(moved / "catch_dqn")
    (about,) = moved.glob("*/*/*/run.json")
    assert resume(about.parent).folder.finished


def test_what_is_finished_stays_as_it_is(half: RunFolder) -> None:
    """Resuming it does nothing; training it again is refused."""
    resume(half.path)
    before = half.metrics.read_bytes()
    assert resume(half.path).path == half.path
    assert half.metrics.read_bytes() == before
    with pytest.raises(FileExistsError, match="holds a run already"):
        execute(_config("dqn", half.path.parents[2]))


def test_another_config_is_refused(half: RunFolder) -> None:
    """With what differs; nothing is changed."""
    before = half.metrics.read_bytes()
    other = _config("dqn", half.path.parents[2], variant=half.path.parent.name, **{"agent.gamma": 0.5})
    with pytest.raises(FileExistsError, match=r"agent\.gamma was 0\.99 and is 0\.5"):
        execute(other)
    assert half.metrics.read_bytes() == before


def test_a_damaged_checkpoint_is_passed_over(half: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """The one before it is taken, and that is said; with none left, the run does not go on."""
    *_, newest = sorted(half.checkpoints.glob("ckpt-*"))
    arrays = newest / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:-9])
    assert resume(half.path).folder.finished
    assert f"{newest.name}" in capsys.readouterr().err


def test_without_a_readable_checkpoint_it_does_not_go_on(half: RunFolder) -> None:
    """To begin again would lose what is there."""
    for path in half.checkpoints.glob("ckpt-*"):
        (path / "state.json").write_text("{}")
    with pytest.raises(CannotResume, match="none of its 2 checkpoints can be read"):
        resume(half.path)


def test_other_versions_are_told_and_refused_if_asked(
    half: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may not be bit for bit then."""
    from lopgym.studies import run as running

    told = running.provenance("cpu") | {"threads": 7}
    monkeypatch.setattr(running, "provenance", lambda device: told)
    with pytest.raises(CannotResume, match="may not go on bit for bit: threads was 1 and is 7"):
        resume(half.path, strict=True)
    assert resume(half.path).folder.finished
    assert "threads was 1 and is 7" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["nowhere"], ["."]])
def test_the_command_tells_what_is_no_run(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, exit code 3."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.app, ["resume", *words])
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (3, "", 1)
    assert "is not a run folder" in result.stderr
