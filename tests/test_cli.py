"""The command line parses and prints: exit codes, one-line errors, lists, completion, and how long a word takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from lopgym.envs.snapshot import StateError
from lopgym.studies import cli
from lopgym.studies.completion import choices, complete
from lopgym.studies.config import entries
from lopgym.studies.doctor import trouble_writing
from lopgym.studies.faults import ConfigError
from lopgym.studies.listing import LISTS, rows, text
from lopgym.studies.resume import CannotResume
from tests.living import LOPGYM

SMALL = ["study=catch_dqn", "tasks=2", "steps_per_task=160", "agent.learning_starts=20", "evaluation.episodes=2"]


def _run(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words))


def _refused(*words: str, code: int = 2) -> str:
    """Run what must fail, and return the one line that says why."""
    result = _run(*words)
    lines = result.stderr.splitlines()
    assert (result.exit_code, len(lines)) == (code, 1), result.output
    assert lines[0].startswith("error: ")
    assert "\x1b" not in lines[0], "colour is for terminals"
    return lines[0]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("study=catch_dqm", "did you mean 'catch_dqn'?"),
        ("mitigation=reod", "did you mean 'redo'?"),
        ("agent.lerning_rate=1", "did you mean 'learning_rate'?"),
        ("seed=x", "valid integer"),
        ("agent.gamma=2", "less than or equal to 1"),
        ("env.n_envs=3", "nearest: 798 or 801"),
        ("seed=1,2", "`lopgym train` makes one"),
        ("seed=4294967296", "less than 4294967296"),
        ("device=cuda:99", "no cuda:99 on this machine"),
    ],
)
def test_a_bad_config_is_one_line_and_exit_code_2(word: str, said: str) -> None:
    """The faults of a config reach the shell as they are."""
    study = [] if word.startswith("study=") else ["study=catch_dqn"]
    assert said in _refused("train", *study, word)


def test_several_faults_are_several_lines() -> None:
    """All at once, one line each."""
    result = _run("train", "study=catch_dqn", "seed=x", "taskz=1")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 2)


def test_a_misspelt_study_is_told() -> None:
    """Without a study nothing can be judged but the names at the top."""
    result = _run("train", "stdy=catch_dqn")
    assert result.exit_code == 2
    first, second = result.stderr.splitlines()
    assert "stdy=catch_dqn: unknown option; did you mean 'study'?" in first
    assert "say which, study=NAME" in second


def test_a_missing_extra_is_told_with_the_line_that_installs_it() -> None:
    """In a process of its own, where nothing of the extras was imported before."""
    code = (
        "import sys; sys.modules |= {'Box2D': None, 'mujoco': None}\n"
        "from typer.testing import CliRunner; from lopgym.studies.cli import app\n"
        "for world in ('env.id=lopgym/LunarLander-v0', 'env.id=lopgym/Ant-v0', 'env=ant'):\n"
        "    result = CliRunner().invoke(app, ['train', 'study=custom', world])\n"
        "    print(result.exit_code, result.stderr, end='')"
    )
    lines = subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()
    assert len(lines) == 3
    for line, extra in zip(lines, ("box2d", "mujoco", "mujoco"), strict=True):
        assert line.startswith("2 error: env")
        assert f'pip install "lopgym[{extra}]"' in line


def test_what_does_not_fit_into_memory_is_told() -> None:
    """A petabyte of replay buffer is one line, too."""
    assert "Unable to allocate" in _refused("train", *SMALL, "--quiet", "agent.buffer_size=4_000_000_000_000")


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_with_its_code(name: signal.Signals, tmp_path: Path) -> None:
    """Both as a shell expects: how to go on, one line, 128 and the number of the signal."""
    words = ["train", *SMALL, "tasks=1000", f"runs_dir={tmp_path}"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs, and theirs, ignore it
    with subprocess.Popen([str(LOPGYM), *words], stderr=subprocess.PIPE, text=True, preexec_fn=heard) as process:
        assert process.stderr is not None
        assert "task 1/1000" in process.stderr.readline()
        process.send_signal(name)
        said = process.stderr.read()
    assert process.returncode == 128 + name
    notice, *rest = [line for line in said.splitlines() if not line.startswith("none")]  # behind what tells progress
    assert notice.startswith(f"{name.name}: stops at the next moment from which it can go on")
    (about,) = tmp_path.glob("*/*/*/run.json")
    go_on = f"goes on with: lopgym resume {about.parent}"
    assert rest == [go_on, "error: interrupted" if name == signal.SIGINT else "error: terminated"]


@pytest.mark.slow
def test_a_demo_that_is_terminated_tidies_up(tmp_path: Path) -> None:
    """No run says that it is still running: the workers were told to end, and ended in order."""
    with subprocess.Popen([str(LOPGYM), "demo", "--out", str(tmp_path)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for _ in range(1 + 3):  # what it is about, then a line of each run
            process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.stderr.read().splitlines()[-1] == "error: terminated"
    assert process.returncode == 143
    told = [json.loads(path.read_text())["status"] for path in tmp_path.rglob("run.json")]
    assert len(told) == 3
    assert "running" not in told


def test_train_leaves_a_run_and_refuses_to_overwrite_it(tmp_path: Path) -> None:
    """The folder is printed, with the words that show it; the same words again are refused."""
    words = ["train", *SMALL, f"runs_dir={tmp_path}", "mitigation=redo", "--quiet"]
    result = _run(*words)
    assert result.exit_code == 0, result.output
    folder, hint = result.stdout.splitlines()
    assert Path(folder).parent.parent == tmp_path / "catch_dqn"
    assert json.loads((Path(folder) / "run.json").read_text())["status"] == "finished"
    assert hint == f"look at it: lopgym tensorboard {tmp_path}/catch_dqn"
    assert "holds a run already" in _refused(*words)


@pytest.mark.parametrize("folder", ["/proc/nowhere", "{file}", "{file}/below"])
def test_an_unwritable_folder_is_refused_before_training(tmp_path: Path, folder: str) -> None:
    """Neither a file nor a place that takes no files can hold runs."""
    (tmp_path / "file").touch()
    place = folder.format(file=tmp_path / "file")
    assert f"{place} cannot be written" in _refused("train", *SMALL, f"runs_dir={place}", code=4)
    assert trouble_writing(Path(place)) is not None
    assert trouble_writing(tmp_path / "new" / "folder") is None
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (OSError(28, "No space left on device"), 4), (FileExistsError("there"), 2)],
)
def test_exit_codes(monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int) -> None:
    """Each kind of failure has its code, and no traceback."""

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("lopgym.studies.run.execute", fail)
    _refused("train", *SMALL, "--quiet", code=code)


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw is not dressed up as the user's fault."""

    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("lopgym.studies.run.execute", fail)
    result = _run("train", *SMALL, "--quiet")
    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)


def test_a_bug_of_a_run_that_goes_on_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is wrong deep inside was typed by nobody; what the user can mend has a code of its own."""

    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("deep inside")

    monkeypatch.setattr("lopgym.studies.run.resume", fail)
    assert isinstance(_run("resume", "run", "--quiet").exception, ValueError)
    assert (ConfigError.exit_code, CannotResume.exit_code, StateError.exit_code) == (2, 3, 3)
    assert _refused("resume", "run", "=3").startswith("error: ")


LINES = SimpleNamespace(lines=["a line"])
PRINTING: dict[str, tuple[list[str], str, Any]] = {
    "record": (["run", "--task", "0"], "video.record", "a line"),
    "probe": (["run"], "probe_command.probe", ["a line"]),
    "export": (["run"], "exporting.export", LINES),
    "import-sb3": (["its.zip"], "importing.import_sb3", LINES),
    "doctor": ([], "doctor.examine", [("a", "line")]),
    "list": (["envs"], "listing.text", "a line"),
}


@pytest.mark.parametrize("command", PRINTING)
def test_nobody_needs_to_read_what_is_said(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every result goes by the one way on which a pipe without a reader is no error."""
    words, does, result = PRINTING[command]
    said: list[object] = []
    monkeypatch.setattr(cli, "say", said.append)
    monkeypatch.setattr(f"lopgym.studies.{does}", lambda *_, **__: result)
    ended = _run(command, *words)
    assert (ended.exit_code, ended.stdout) == (0, ""), ended.output
    assert len(said) == 1


def test_a_pipe_without_a_reader_is_no_error() -> None:
    """`lopgym doctor | true`: it has done its work."""
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run([str(LOPGYM), "doctor"], stdout=writes, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writes)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    """A missing checkpoint is exit code 3, a missing folder of runs 2."""
    assert "is not a run folder" in _refused("record", str(tmp_path), "--task", "0", code=3)
    (tmp_path / "config.yaml").write_text("tasks: 2")
    assert "has kept no weights" in _refused("record", str(tmp_path), "--task", "7", code=3)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "task-0.npz").touch()
    assert "those of tasks 0 to 0" in _refused("record", str(tmp_path), "--task", "7", code=3)
    assert ".mp4 or .gif" in _refused("record", str(tmp_path), "--task", "0", "--out", "film.txt")
    assert "there is no folder" in _refused("record", str(tmp_path), "--task", "0", "--out", "no/film.mp4", code=4)
    assert "nowhere" in _refused("tensorboard", str(tmp_path / "nowhere"))
    assert "did you mean 'envs'?" in _refused("list", "env")


@pytest.mark.parametrize("kind", LISTS)
def test_lists(kind: str) -> None:
    """A list is one row a thing, as text and as JSON, and every row says what the thing is."""
    found = json.loads(_run("list", kind, "--json").stdout)
    assert found == json.loads(json.dumps(rows(kind)))
    said = _run("list", kind).stdout
    for row in found:
        assert row["name"] in said
        assert row.get("summary") or row.get("question")


@pytest.mark.parametrize("width", [80, 160])
def test_a_list_fits_the_screen(width: int) -> None:
    """No row is torn by the terminal, and no word is lost."""
    table = rows("mitigations")
    said = text(table, width)
    assert max(map(len, said.splitlines())) <= width
    assert sorted(said.split()) == sorted(text(table).split())


def test_lists_are_complete() -> None:
    """What can be chosen is listed."""
    for kind, group in [("envs", "env"), ("agents", "agent"), ("mitigations", "mitigation"), ("probes", "probes")]:
        assert {row["name"] for row in rows(kind)} == set(entries(group)) - {"custom"}
    assert tuple(cli.LISTS) == tuple(LISTS)


def test_worlds_are_listed_with_what_can_drift() -> None:
    """Bounds and units stand beside every parameter, those of the world's own wrappers too."""
    worlds = {row["name"]: row for row in rows("envs")}
    gravity = next(p for p in worlds["cartpole"]["parameters"] if p["name"] == "gravity")
    assert (gravity["default"], gravity["unit"]) == (9.8, "m/s^2")
    assert {p["name"] for p in worlds["catch"]["parameters"]} == {"observation_order", "action_order"}


def test_doctor_is_well() -> None:
    """It names versions, threads and disk, and always exits with 0."""
    result = _run("doctor", "/proc/nowhere")
    assert result.exit_code == 0
    for word in ("torch", "gymnasium", "threads", "GiB free", "mujoco", "cannot be written"):
        assert word in result.stdout


@pytest.mark.parametrize(
    ("before", "incomplete", "offered"),
    [
        ([], "stu", ["study="]),
        ([], "study=cat", ["study=catch_dqn"]),  # zsh, fish
        (["study"], "=", ["cartpole_gravity", "catch_dqn", "custom", "label_bandit_ppo", "recoded_grid_ppo"]),  # bash
        (["seed=3", "study", "="], "cat", ["catch_dqn"]),
        ([], "mitigation=red", ["mitigation=redo", "mitigation=redo_fixed_rate"]),
        ([], "nonsense=", []),
    ],
)
def test_completion(before: list[str], incomplete: str, offered: list[str]) -> None:
    """Groups and their entries are completed, however the shell cuts its words."""
    assert complete(before, incomplete) == offered


@pytest.mark.parametrize("group", ["env", "agent", "mitigation", "probes"])
def test_completion_knows_what_is_registered(group: str) -> None:
    """It reads the source instead of importing it, and must find the same names."""
    assert set(entries(group)) <= set(choices(group))


@pytest.mark.parametrize(
    "words", ["lopgym train study=catch", "lopgym train seed=3 study=catch", "lopgym train study = catch"]
)
def test_completion_of_the_installed_command(words: str) -> None:
    """Bash asks the real command."""
    env = {**os.environ, "_LOPGYM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    said = subprocess.check_output([str(LOPGYM)], env=env, text=True)
    assert said.strip().removeprefix("study=") == "catch_dqn"


@pytest.mark.parametrize("words", [["--help"], ["list", "envs"], ["list", "schedules"], ["list", "studies"]])
def test_what_should_be_quick_loads_nothing_heavy(words: list[str]) -> None:
    """Times depend on the machine; what is imported does not."""
    code = (
        "import sys; from typer.testing import CliRunner; from lopgym.studies.cli import app\n"
        f"assert CliRunner().invoke(app, {words}).exit_code == 0\n"
        "heavy = {'torch', 'stable_baselines3', 'hydra', 'tensorboard', 'matplotlib', 'scipy', 'pandas'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
