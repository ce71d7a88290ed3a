"""A run that was cut off goes on as if nothing had happened, or says why it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lopgym.record import RunFolder
from lopgym.store import CheckpointError, save
from lopgym.studies import cli
from lopgym.studies.compose import from_keywords
from lopgym.studies.progress import Progress
from lopgym.studies.resume import CannotResume
from lopgym.studies.run import LastCheckpointLost, execute, resume
from tests.living import CutOff
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


def _cut_off(after: int) -> Any:
    def watch(now: Progress) -> None:
        if now.step > after:
            raise CutOff

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
        with pytest.raises(CutOff):
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


def test_a_run_whose_status_is_gone_goes_on(tmp_path: Path) -> None:
    """What it has kept counts, and is not written over; here there was nothing left to do."""
    whole, pieces = (execute(_config("dqn", tmp_path / folder)) for folder in ("whole", "pieces"))
    pieces.folder.about.unlink()
    before = pieces.folder.metrics.read_bytes()
    assert_same(whole, execute(_config("dqn", tmp_path / "pieces")))
    assert pieces.folder.metrics.read_bytes() == before


@pytest.fixture
def half(tmp_path: Path) -> RunFolder:
    """Return the folder of a run that was cut off behind some checkpoints."""
    config = _config("dqn", tmp_path)
    with pytest.raises(CutOff):
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


def test_a_run_that_cannot_be_taken_back_is_left_as_it_is(
    half: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half or finished: no line is cut off, no config and no status is another, and it goes on when it can."""

    def fail(*_: object) -> None:
        raise ValueError("of another world")

    finished = execute(_config("dqn", tmp_path / "finished")).folder
    for folder, changes in ((half, {}), (finished, {"tasks": 4})):
        before = [path.read_bytes() for path in (folder.metrics, folder.config, folder.about)]
        with monkeypatch.context() as patched:
            patched.setattr("lopgym.studies.rollback.Rollbacks._take_back", fail)
            with pytest.raises(CheckpointError, match="is not of this run: of another world"):
                resume(folder.path, changes=changes)
        assert [path.read_bytes() for path in (folder.metrics, folder.config, folder.about)] == before
        assert resume(folder.path, changes=changes).folder.finished


def test_a_checkpoint_that_cannot_be_made_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reason, such as a replay buffer beyond its limits: the run is finished, and that is told, too."""

    def fail(root: Path, *_: object, **__: object) -> None:
        raise CheckpointError(root, "too large")

    monkeypatch.setattr("lopgym.studies.checkpointing.save", fail)
    with pytest.raises(LastCheckpointLost, match=r"is finished, and its last checkpoint is not written: .* too large"):
        execute(_config("dqn", tmp_path))


def test_an_option_that_is_new_is_as_it_is_by_default(half: RunFolder) -> None:
    """A run of before it was there goes on; with another value than that it would be another run."""
    text = half.config.read_text()
    assert "rollbacks: 0" in text
    half.config.write_text("".join(line for line in text.splitlines(keepends=True) if "rollbacks" not in line))
    assert resume(half.path).folder.finished


@pytest.mark.parametrize(
    "ends", [{"metrics": "7", "spectra": 0}, {"metrics": -1, "spectra": 0}, {"metrics": 7}, {}, [], None], ids=str
)
def test_a_checkpoint_of_something_else_is_told(half: RunFolder, ends: Any) -> None:
    """Whole, as its checksums say, and yet no run's."""
    saved = last(half)
    save(half.checkpoints, 400, saved.tree | {"files": ends}, about=saved.about, keep=1)
    with pytest.raises(CannotResume, match="is a checkpoint of something else than a run"):
        resume(half.path)


@pytest.mark.slow
def test_a_longer_run_does_not_show_where_it_was_to_end(tmp_path: Path) -> None:
    """What methods count is recorded now and then, and at the end: that of before is taken back."""
    changes = {"probe_every": 70, "tasks": 2}
    shorter = execute(_config("dqn", tmp_path / "shorter", **changes))
    longer = execute(_config("dqn", tmp_path / "longer", **changes | {"tasks": 3}))
    assert_same(longer, resume(shorter.path, changes={"tasks": 3}))


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


def test_numbers_that_look_alike_are_told_apart() -> None:
    """By type, by sign, and where one is not a number."""
    one = {"a": float("nan"), "b": 0.0, "c": 1, "d": [1.0]}
    assert [*apart(one, one | {"d": [1.0]})] == []
    assert {*apart(one, {"a": 5.0, "b": -0.0, "c": True, "d": [1]})} == {"/a", "/b", "/c", "/d/0"}


@pytest.mark.parametrize("words", [["nowhere"], ["."]])
def test_the_command_tells_what_is_no_run(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, exit code 3."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.app, ["resume", *words])
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (3, "", 1)
    assert "is not a run folder" in result.stderr
