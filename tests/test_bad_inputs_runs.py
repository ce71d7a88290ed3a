"""Bad inputs, the second part: runs that are there, are not there, are not what they say, or cannot be written.

Each test is of a row of a table of 48; those of configs are in `test_bad_inputs.py`. What is refused is told in a line
each, with the code of its kind, without a traceback, and changes no file. What is no mistake is not counted as one.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from typer.testing import CliRunner, Result

from lopgym.record import RunFolder, repeatable
from lopgym.store import load, newest, save
from lopgym.studies import cli
from lopgym.studies.changes import CHANGEABLE
from lopgym.studies.compose import from_keywords
from lopgym.studies.locks import NAME, locked
from lopgym.studies.progress import Progress
from lopgym.studies.provenance import provenance
from lopgym.studies.run import Run, execute, resume
from lopgym.studies.termination import ECHO
from tests.living import LOPGYM, CutOff
from tests.runs import assert_same

Test = TypeVar("Test", bound=Callable[..., None])
ROWS: dict[int, list[str]] = {}  # row of the table -> tests of it

SMALL: dict[str, Any] = {
    "tasks": 2,
    "steps_per_task": 160,
    "agent.learning_starts": 20,
    "probe_every": 80,
    "report_every": 40,
    "checkpoint.every": 40,
    "evaluation.every": 0,
    "mitigation": "redo",
    "variant": "small",
}
WORDS = ["study=catch_dqn", *(f"{key}={value}" for key, value in SMALL.items())]


def _row(number: int) -> Callable[[Test], Test]:
    """Make a test one of a row."""

    def enter(test: Test) -> Test:
        ROWS.setdefault(number, []).append(test.__name__)
        return test

    return enter


def _fault(number: int) -> Callable[[Test], Test]:
    """Make a test one of a row, and of the faults that are counted: refused, ended or gone around, and told."""
    return lambda test: pytest.mark.fault("F11")(_row(number)(test))


def _sample(*values: Any, of: int = 1, tier: str = "matrix") -> list[Any]:
    """Leave all but the first `of` values to the whole matrix, which has faults only, or to another tier."""
    several = [value if isinstance(value, tuple) else (value,) for value in values]
    return [pytest.param(*v, marks=getattr(pytest.mark, tier) if i >= of else ()) for i, v in enumerate(several)]


def _cut_off(now: Progress) -> None:
    if now.step > 200:
        raise CutOff


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a finished run."""
    return execute(from_keywords("catch_dqn", runs_dir=str(tmp_path_factory.mktemp("whole")), **SMALL))


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of runs with one that was cut off behind its checkpoint of step 200."""
    runs = tmp_path_factory.mktemp("torn")
    with pytest.raises(CutOff):
        execute(from_keywords("catch_dqn", runs_dir=str(runs), **SMALL), on_progress=_cut_off)
    return runs


@pytest.fixture
def half(torn: Path, tmp_path: Path) -> RunFolder:
    """Return a copy of the run that was cut off."""
    return _copy(torn, tmp_path / "runs")


@pytest.fixture
def done(whole: Run, tmp_path: Path) -> RunFolder:
    """Return a copy of the finished run."""
    return _copy(whole.path.parents[2], tmp_path / "runs")


def _copy(runs: Path, to: Path) -> RunFolder:
    shutil.copytree(runs, to)
    (about,) = to.glob("*/*/*/run.json")
    return RunFolder(about.parent)


def _tree(top: Path) -> dict[str, Any]:
    """Return what is in a folder: links by where they lead, files by what they hold."""
    found: dict[str, Any] = {}
    for folder, folders, files in os.walk(top):
        for path in (Path(folder, name) for name in [*folders, *files]):
            name = str(path.relative_to(top))
            found[name] = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
    return found


def _command(*words: object) -> Result:
    result = CliRunner().invoke(cli.app, [*map(str, words), "--quiet"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def _refused(code: int, top: Path, *words: object, lines: int = 1) -> str:
    """Run what must fail and change nothing below `top`; return what it says, one line for each fault."""
    before = _tree(top)
    result = _command(*words)
    said = result.stderr.splitlines()
    assert (result.exit_code, len(said), result.stdout) == (code, lines, ""), result.output
    assert all(line.startswith("error: ") for line in said)
    assert _tree(top) == before
    return result.stderr


def _goes_on(folder: RunFolder, *words: object) -> str:
    """Resume a run, which must come to its end where it lies; return what is said of it."""
    result = _command("resume", folder.path, *words)
    assert (result.exit_code, result.stdout.strip()) == (0, str(folder.path)), result.output
    assert folder.finished
    return result.stderr


@_fault(36)
def test_a_finished_run_is_not_overwritten(done: RunFolder, tmp_path: Path) -> None:
    """Both ways out are said, and the command for one of them is whole."""
    said = _refused(2, tmp_path, "train", *WORDS, f"runs_dir={tmp_path / 'runs'}")
    assert "holds a run already" in said
    assert f"`lopgym resume {done.path} tasks=N` makes it longer" in said
    assert "variant=NAME, or another seed or runs_dir" in said


@_fault(36)
def test_a_run_that_was_begun_otherwise_is_not_gone_on_with(half: RunFolder, tmp_path: Path) -> None:
    """What differs is said, key by key."""
    said = _refused(2, tmp_path, "train", *WORDS, f"runs_dir={tmp_path / 'runs'}", "agent.gamma=0.5")
    assert "agent.gamma was 0.99 and is 0.5;" in said
    assert f"`lopgym resume {half.path}` lets that one go on; to begin another one: variant=NAME" in said


@_row(36)
@pytest.mark.slow
def test_a_run_of_the_same_config_goes_on_by_itself(half: RunFolder, whole: Run, tmp_path: Path) -> None:
    """It is the same run: nothing would be overwritten by beginning again, and nothing is."""
    result = _command("train", *WORDS, f"runs_dir={tmp_path / 'runs'}")
    assert result.exit_code == 0
    assert_same(whole, Run(half.path))


@_row(36)
@pytest.mark.slow
def test_another_name_trains_beside_it(done: RunFolder, tmp_path: Path) -> None:
    """The way out that is offered leads out."""
    before = _tree(done.path)
    result = _command("train", *WORDS, f"runs_dir={tmp_path / 'runs'}", "variant=another")
    assert result.exit_code == 0
    assert RunFolder(done.path.parents[1] / "another" / "seed-0").finished
    assert _tree(done.path) == before


@_fault(37)
@pytest.mark.parametrize("command", _sample("resume", "train"))
def test_a_run_in_use_is_left_alone(command: str, half: RunFolder, tmp_path: Path) -> None:
    """By whom is said."""
    words: dict[str, list[Any]] = {"train": [*WORDS, f"runs_dir={tmp_path / 'runs'}"], "resume": [half.path]}
    with locked(half.path):
        said = _refused(4, tmp_path, command, *words[command])
    assert f"is in use by process {os.getpid()} on {socket.gethostname()}" in said


@_fault(37)
@pytest.mark.matrix
def test_a_lock_of_the_dead_is_taken_over(half: RunFolder, whole: Run) -> None:
    """With one line."""
    owner = {"pid": 2**22 + 1, "host": socket.gethostname(), "began": "long ago"}
    (half.path / NAME).write_text(json.dumps(owner))
    assert "is gone; its lock is taken over" in _goes_on(half)
    assert_same(whole, Run(half.path))


@_fault(38)
@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("catch_dqn/small/seed-1", "catch_dqn/small/seed-0"),
        ("catch_dqm/small/seed-0", "catch_dqn/small/seed-0"),
        ("catch_dqn/small", "catch_dqn/small/seed-0"),
        ("catch_dqn/small/seed-0/checkpoints", ""),
    ],
    ids=["seed", "study", "parent", "inside"],
)
def test_a_run_that_is_not_there(typed: str, meant: str, half: RunFolder, tmp_path: Path) -> None:
    """What was probably meant is said; of what lies outside of where one is, nothing."""
    runs = tmp_path / "runs"
    said = _refused(3, tmp_path, "resume", runs / typed)
    assert "is not a run folder" in said
    # Outside of where one is, no disk is searched for what was meant.
    assert "it does not exist" in _command("resume", "/nowhere/at/all").stderr
    if meant:
        assert f"did you mean '{runs / meant}'?" in said


@_fault(39)
def test_without_a_checkpoint_it_begins_again_only_if_asked(half: RunFolder, whole: Run, tmp_path: Path) -> None:
    """What to type is said, does it, and the run is the same one."""
    for path in half.checkpoints.glob("ckpt-*"):
        shutil.rmtree(path)
    said = _refused(3, tmp_path, "resume", half.path)
    assert f"{half.path} has no checkpoint yet; `lopgym resume {half.path} --from-start` begins it again" in said
    assert "has no checkpoint yet: it begins again" in _goes_on(half, "--from-start")
    assert_same(whole, Run(half.path))


def _damage(*checkpoints: Path) -> None:
    for path in checkpoints:
        arrays = path / "arrays.npz"
        arrays.write_bytes(arrays.read_bytes()[:-9])


@_fault(40)
@pytest.mark.parametrize("words", _sample([], ["--from-start"]), ids=["", "from-start"])
def test_a_damaged_checkpoint_is_passed_over(words: list[str], half: RunFolder, whole: Run) -> None:
    """Which one, and how much is done again, is said; the one before is not thrown away either, whatever is asked."""
    older, newer = sorted(half.checkpoints.glob("ckpt-*"))
    assert (older.name, newer.name) == ("ckpt-000000000160", "ckpt-000000000200")
    _damage(newer)
    first, second = _goes_on(half, *words).splitlines()
    assert first.startswith(f"warning: {newer}: arrays.npz has")
    assert first.endswith("skipped")
    assert second == f"{half.path} goes on from step 160; it had come to step 240: 80 steps are done again"
    assert_same(whole, Run(half.path))


@_fault(40)
@pytest.mark.matrix
def test_all_checkpoints_damaged(half: RunFolder, whole: Run, tmp_path: Path) -> None:
    """Each is named; to begin again has to be asked for."""
    _damage(*half.checkpoints.glob("ckpt-*"))
    said = _refused(3, tmp_path, "resume", half.path, lines=3)
    assert f"none of its 2 checkpoints can be read; `lopgym resume {half.path} --from-start` begins it again" in said
    assert "has no checkpoint left: it begins again" in _goes_on(half, "--from-start")
    assert_same(whole, Run(half.path))


@_fault(41)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["agent.gamma=0.5"], ["agent.gamma was 0.99 and is 0.5: that would be another run"]),
        (["device=cuda"], ["device was 'cpu' and is 'cuda'"]),
        (["report_every=10"], ["report_every was 40 and is 10"]),
        (["env.n_envs=2", "seed=1"], ["env.n_envs was 1 and is 2", "seed was 0 and is 1"]),
        (["mitigation=cbp"], ["mitigation was {"]),
        (["variant=mine"], ["variant was 'small' and is 'mine'"]),
        (["taks=9"], ["unknown option; did you mean 'tasks'?"]),
        (["tasks=1"], ["tasks=1: the run has 2; it can be made longer, and not shorter"]),
    ],
    ids=lambda value: "+".join(value).partition("=")[0] if "=" in value[0] else "",
)
@pytest.mark.parametrize("of", _sample("half", "done"))
def test_a_change_that_would_be_another_run(
    of: str, words: list[str], said: list[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Each key in a line, and what may change; it is the same for a run that is finished."""
    found = _refused(3, tmp_path, "resume", request.getfixturevalue(of).path, *words, lines=len(said))
    for line, expected in zip(found.splitlines(), said, strict=True):
        assert expected in line
        assert "another run" not in line or line.endswith(", ".join(CHANGEABLE))


@_fault(41)
@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("tasks=many", "tasks: Input should be a valid integer"),
        ("tasks=2.5", "tasks: Input should be a valid integer"),
        ("tasks=true", "tasks: Input should be a number, not a bool"),
        ("tasks=99999999999", "tasks: Input should be less than"),
        ("tasks=010", "a number with a leading zero"),
        ("checkpoint.keep=0", "checkpoint.keep: Input should be greater than 0"),
        ("tasks", "not of the form key=value"),
    ],
)
def test_a_change_that_is_none(word: str, said: str, half: RunFolder, tmp_path: Path) -> None:
    """What may change is held to what it may be."""
    assert said in _refused(2, tmp_path, "resume", half.path, word)


@_row(41)
@pytest.mark.parametrize("of", _sample("done", "half", tier="slow"))
def test_a_longer_run_equals_the_one_that_was_as_long_from_the_beginning(
    of: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A finished one, too; its config says so, and its folder keeps its name."""
    folder: RunFolder = request.getfixturevalue(of)
    longer = execute(from_keywords("catch_dqn", runs_dir=str(tmp_path / "longer"), **SMALL | {"tasks": 3}))
    assert "bit for bit" not in _goes_on(folder, "tasks=3")
    assert yaml.safe_load(folder.config.read_text())["tasks"] == 3
    assert_same(longer, Run(folder.path))
    assert "is finished already" in _goes_on(folder, "tasks=3")


@_row(41)
@pytest.mark.slow
def test_a_run_that_is_made_longer_is_not_finished(done: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first moment on: if it is killed before its config says how long it is, it will go on."""

    def die(folder: RunFolder, config: Mapping[str, Any]) -> None:
        raise CutOff

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "write_config", die)
        with pytest.raises(CutOff):
            resume(done.path, changes={"tasks": 3})
    assert not done.finished


@_fault(41)
@pytest.mark.parametrize("words", _sample([], ["--from-start"]), ids=["", "from-start"])
def test_what_is_finished_is_not_begun_again(words: list[str], done: RunFolder, tmp_path: Path) -> None:
    """Without a checkpoint it cannot be made longer, and what it has come to is not thrown away for that."""
    for path in done.checkpoints.glob("ckpt-*"):
        shutil.rmtree(path)
    told = "is finished, and has no checkpoint from which it could go on"
    assert told in _refused(3, tmp_path, "resume", done.path, "tasks=3", *words)


@_row(41)
@pytest.mark.slow
def test_a_longer_ppo_equals_the_one_that_was_as_long_from_the_beginning(tmp_path: Path) -> None:
    """Twice longer."""
    options = {"steps_per_task": 512, "checkpoint.every": 256, "probe_every": 256, "mitigation": "shrink_perturb"}
    runs = {
        tasks: execute(from_keywords("label_bandit_ppo", runs_dir=str(tmp_path / str(tasks)), tasks=tasks, **options))
        for tasks in (1, 3)
    }
    _goes_on(runs[1].folder, "tasks=2")
    _goes_on(runs[1].folder, "tasks=3")
    assert_same(runs[3], Run(runs[1].path))


@_fault(41)
@pytest.mark.slow
def test_exploration_that_falls_over_the_run_is_told(tmp_path: Path) -> None:
    """What was explored so far went by the old length: that is no longer bit for bit, and `--strict` refuses it."""
    options = SMALL | {"task_change.exploration": "keep"}
    short = execute(from_keywords("catch_dqn", runs_dir=str(tmp_path), **options))
    said = _refused(3, tmp_path, "resume", short.path, "tasks=3", "--strict")
    assert "may not go on bit for bit: exploration_fraction is a share of the run" in said
    assert "warning: " in _goes_on(short.folder, "tasks=3")


@_row(41)
@pytest.mark.slow
def test_checkpoints_may_be_others_from_now_on(half: RunFolder, whole: Run) -> None:
    """The config says so, one is left, and no number of the run is another."""
    _goes_on(half, "checkpoint.every=70", "checkpoint.keep=1")
    assert yaml.safe_load(half.config.read_text())["checkpoint"] == {"every": 70, "keep": 1}
    assert [path.name for path in half.checkpoints.glob("ckpt-*")] == ["ckpt-000000000320"]
    assert repeatable(half.metrics) == repeatable(whole.folder.metrics)


@_fault(42)
@pytest.mark.parametrize(
    ("fact", "value"), _sample(("threads", 7), ("device", "cuda:0"), ("versions", {"torch": "1.0"}), of=0)
)
def test_another_machine(
    fact: str, value: Any, half: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, and refused if that is asked for."""
    about = provenance("cpu") | {fact: value}
    monkeypatch.setattr("lopgym.studies.run.provenance", lambda device: about)
    said = _refused(3, tmp_path, "resume", half.path, "--strict")
    assert f"may not go on bit for bit: {fact}" in said
    assert said.partition("error: ")[2] in _goes_on(half)


def _of_a_later_format(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"version": 2}))


def _of_another_algorithm(path: Path) -> None:
    saved = load(path)
    saved.tree["parts"]["agent"]["algorithm"] = "PPO"
    save(path.parent, saved.step, saved.tree, about=saved.about)


def _of_something_else(path: Path) -> None:
    save(path.parent, load(path).step, {"a": 1}, about={})


@_fault(43)
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_of_a_later_format, "format version 2; this lopgym reads version 1"),
        (_of_another_algorithm, "is a checkpoint of a PPO, and the run's agent is a DQN"),
        (_of_something_else, "is a checkpoint of something else than a run"),
    ],
)
def test_a_foreign_checkpoint(make: Callable[[Path], None], said: str, half: RunFolder, tmp_path: Path) -> None:
    """Versions and algorithms are named."""
    checkpoints = [*half.checkpoints.glob("ckpt-*")]
    for path in checkpoints:
        make(path)
    lines = len(checkpoints) + 1 if make is _of_a_later_format else 1
    assert said in _refused(3, tmp_path, "resume", half.path, lines=lines)


@_row(44)
@pytest.mark.parametrize("words", _sample([], ["--strict"], ["--from-start"], ["tasks=2"], tier="slow"), ids="".join)
def test_a_finished_run_stays_as_it_is(words: list[str], done: RunFolder, tmp_path: Path) -> None:
    """That is no fault."""
    before = _tree(tmp_path)
    assert _goes_on(done, *words) == f"{done.path} is finished already: nothing is done\n"
    assert _tree(tmp_path) == before


@_fault(45)
@pytest.mark.parametrize("where", _sample("", "/catch_dqn", "/catch_dqn/small", "/catch_dqn/small/seed-0"))
@pytest.mark.parametrize(
    ("plant", "said"),
    _sample(
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
        (lambda path: path.touch(), ""),
        (lambda path: path.symlink_to(path.parent / "gone"), "No such file or directory"),
        of=2,
    ),
    ids=["loop", "file", "dangling"],
)
def test_what_is_no_folder(where: str, plant: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    """It is named, wherever it is on the way to the run."""
    place = tmp_path / f"runs{where}"
    place.parent.mkdir(parents=True, exist_ok=True)
    plant(place)
    found = _refused(4, tmp_path, "train", *WORDS, f"runs_dir={tmp_path / 'runs'}")
    assert str(place) in found
    assert (said or ("is a file" if not where else "Not a directory")) in found


@_fault(45)
@pytest.mark.parametrize("level", _sample(3, 1, 2))
def test_a_link_that_leads_out(level: int, done: RunFolder, tmp_path: Path) -> None:
    """Nothing is written where a run does not belong."""
    place = [done.path, *done.path.parents][3 - level]
    outside = tmp_path / "outside"
    place.rename(outside)
    place.symlink_to(outside)
    said = _refused(4, tmp_path, "train", *WORDS, f"runs_dir={tmp_path / 'runs'}")
    assert f"is not inside of {tmp_path / 'runs'}: a link leads to {outside}" in said


@_fault(45)
@pytest.mark.matrix
def test_a_link_to_a_run_is_that_run(half: RunFolder, whole: Run, tmp_path: Path) -> None:
    """What is typed may be a short cut, the run is where it is; one that leads in a circle is refused."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "Too many levels of symbolic links" in _refused(4, tmp_path, "resume", tmp_path / "loop")
    (tmp_path / "mine").symlink_to(half.path)
    assert _command("resume", tmp_path / "mine").stdout.strip() == str(half.path)
    assert_same(whole, Run(half.path))


@_fault(45)
@pytest.mark.parametrize("text", ["", "{}", "[]", "[" * 100_000, '{"status": "fin'], ids=range(5))
def test_a_damaged_run_json(text: str, half: RunFolder, tmp_path: Path) -> None:
    """Nobody knows then whether the run is finished."""
    half.about.write_text(text)
    assert f"{half.about} cannot be read" in _refused(3, tmp_path, "resume", half.path)


def _full(path: Path, *_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@_fault(46)
@pytest.mark.parametrize(
    ("writes", "file"), _sample(("RunFolder.write_config", "config.yaml"), ("MetricsFile.write", "metrics.jsonl"), of=0)
)
def test_a_full_disk(writes: str, file: str, half: RunFolder, whole: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training cannot go on, and where is said; what was kept is kept, and it goes on when there is room."""
    with monkeypatch.context() as disk:
        disk.setattr(f"lopgym.record.{writes}", partial(_full, half.path / file))
        result = _command("resume", half.path)
    assert result.exit_code == 4
    assert result.stderr.splitlines()[-1] == f"error: [Errno 28] No space left on device: '{half.path / file}'"
    assert newest(half.checkpoints)[1] == []
    _goes_on(half)
    assert_same(whole, Run(half.path))


def _killing(number: signal.Signals, times: int) -> Any:
    """Return a display that sends this process a signal in the middle of a run, so often that each is heard."""

    def watch(now: Progress) -> None:
        for _ in range(times if now.step == 240 else 0):
            os.kill(os.getpid(), number)
            time.sleep(ECHO * 1.1 if times > 1 else 0)

    return lambda: nullcontext(watch)


@_row(47)
@_fault(48)
@pytest.mark.parametrize(
    ("name", "times", "code"), _sample(("SIGINT", 1, 130), ("SIGINT", 2, 130), ("SIGTERM", 1, 143), ("SIGHUP", 1, 143))
)
def test_a_signal(
    name: str, times: int, code: int, half: RunFolder, whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once: a checkpoint first; twice: at once, and the one before is whole. It goes on from there."""
    number = signal.Signals[name]
    before = signal.signal(number, signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)
    try:
        with monkeypatch.context() as patched:
            patched.setattr("lopgym.studies.progress.display", _killing(number, times))
            result = CliRunner().invoke(cli.app, ["resume", str(half.path)])
    finally:
        signal.signal(number, before)
    assert result.exit_code == code
    assert "Traceback" not in result.output
    saved, skipped = newest(half.checkpoints)
    assert (saved is not None and saved.step > 200, skipped) == (times == 1, [])
    _goes_on(half)
    assert_same(whole, Run(half.path))


@_row(48)
@pytest.mark.slow
def test_nobody_reads(tmp_path: Path) -> None:
    """`lopgym train ... 2>&1 | true`: training goes on to its end, and that is a success."""
    reading, writing = os.pipe()
    os.close(reading)
    words = ["train", *WORDS, f"runs_dir={tmp_path}"]
    code = subprocess.run([LOPGYM, *words], stdout=writing, stderr=writing, timeout=300, check=False).returncode
    os.close(writing)
    (about,) = tmp_path.glob("*/*/*/run.json")
    assert (code, RunFolder(about.parent).finished) == (0, True)


@_fault(48)
@pytest.mark.filterwarnings("ignore:html5lib's sanitizer:DeprecationWarning")  # tensorboard brings it
def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """Nothing else is done instead: whoever names a port means it; without one, a free one is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(cli.app, ["tensorboard", str(tmp_path), "--port", str(port)])
    assert (result.exit_code, len(result.stderr.splitlines())) == (4, 1), result.exception
    assert f"error: port {port}: " in result.stderr


@_fault(48)
@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS], ids=errno.errorcode.get)
def test_no_permission(code: int, half: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is the first file that a run writes; planted, as the superuser may write everywhere."""

    def refuse(path: Path, me: object) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr("lopgym.studies.locks._create", refuse)
    said = _refused(4, tmp_path, "resume", half.path)
    assert os.strerror(code) in said
    assert str(half.path / NAME) in said


@pytest.mark.fault("F11")
def test_each_row_has_a_test(survived: Callable[[int], None]) -> None:
    """From 36 to 48; it breaks nothing, and runs where the faults are counted."""
    assert sorted(ROWS) == [*range(36, 49)]
    survived(0)
