"""What a run leaves on disk when it is cut short and goes on: no line lost, none twice, and no disk that ends it."""

from __future__ import annotations

import copy
import math
import os
import random
import resource
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback

from lopgym.record import LinesLost, MetricsFile, Recorder, RunFolder, cut, read_metrics
from lopgym.studies import evaluation, reporting
from lopgym.studies.board import TensorBoardSink
from lopgym.studies.evaluation import Evaluation
from lopgym.studies.moments import KeepMoments, Moment
from lopgym.studies.reporting import KeepWeights, TaskReport, logger_into
from lopgym.studies.spectra import SpectraFile, read_spectra
from tests import synthetic
from tests.event_points import Points, doubles, plainly

TASKS, STEPS = 6, 80
LINES = list(synthetic.lines("none", tasks=TASKS, steps=STEPS))


# Files of lines


def test_a_file_is_cut_to_its_offset_and_goes_on(tmp_path: Path) -> None:
    """What came after the offset goes, a torn last line too, whether or not the file is open; then steps are new."""
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path)
    metrics.write(1, {"a": 0.5})
    offset = metrics.offset()
    assert offset == path.stat().st_size
    metrics.write(2, {"a": math.nan})
    with path.open("a") as torn:
        torn.write('{"step": 3, "a"')
    cut(path, offset)
    metrics.write(2, {"a": 0.25})
    metrics.close()
    assert list(read_metrics(path)) == [(1, {"a": 0.5}), (2, {"a": 0.25})]
    cut(path, 0)
    assert path.read_bytes() == b""
    cut(tmp_path / "never written", 0)
    assert not (tmp_path / "never written").exists()


def test_spectra_are_cut_alike(tmp_path: Path) -> None:
    """A look a line, and no offset but 0 before the first."""
    path = tmp_path / "spectra.jsonl"
    spectra = SpectraFile(path)
    assert spectra.offset() == 0
    spectra.write(1, {"q": {"weights": [2.0, 1.0]}})
    offset = spectra.offset()
    spectra.write(2, {"q": {"weights": [9.0]}})
    cut(path, offset)
    spectra.write(2, {"q": {"weights": [3.0]}})
    assert read_spectra(path) == {"q": {"weights": [(1, [2.0, 1.0]), (2, [3.0])]}}


def test_an_offset_is_of_what_the_disk_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is synced first: a checkpoint that is on the disk must not count on lines that are not."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    metrics, spectra = MetricsFile(tmp_path / "m"), SpectraFile(tmp_path / "s")
    metrics.write(1, {"a": 1.0})
    spectra.write(1, {})
    assert synced == []
    assert [metrics.offset(), spectra.offset()] == synced
    metrics.close()


@pytest.mark.parametrize(("offset", "said"), [(21, "no line ends at byte 21 of its 20"), (5, "no line ends at byte 5")])
def test_a_file_that_lost_lines_is_not_gone_on_with(tmp_path: Path, offset: int, said: str) -> None:
    """It is refused in one line and left as it is."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "a": 1}\n')
    with pytest.raises(LinesLost, match=said) as caught:
        cut(path, offset)
    assert (caught.value.exit_code, str(caught.value).count("\n")) == (3, 0)
    assert path.stat().st_size == 20
    with pytest.raises(LinesLost, match="is not there"):
        cut(tmp_path / "nothing", 5)


def test_a_sink_that_cannot_be_closed_leaves_the_others_closed() -> None:
    """A disk without room is told, and what has room is whole."""
    closed: list[str] = []

    def fails() -> None:
        closed.append("first")
        raise OSError("no room")

    sinks: list[Any] = [SimpleNamespace(close=fails), SimpleNamespace(close=lambda: closed.append("second"))]
    with pytest.raises(OSError, match="no room"):
        Recorder(sinks).close()
    assert closed == ["first", "second"]


def test_truth_that_finds_no_room_is_an_error() -> None:
    """`metrics.jsonl` is no view: without it there is no run."""
    metrics = MetricsFile(Path("/dev/full"))
    with pytest.raises(OSError, match="No space left"):
        metrics.write(1, {"a": 1.0})
    with pytest.raises(OSError, match="No space left"):
        metrics.close()


# TensorBoard


def _sink(folder: Path, said: list[str] | None = None) -> TensorBoardSink:
    lines: list[str] = [] if said is None else said
    return TensorBoardSink(RunFolder(folder), synthetic.config("none"), TASKS, STEPS, say=lines.append)


def _record(folder: Path, first: int, last: int, board: TensorBoardSink) -> None:
    """Write lines of the made-up run, as a trainer does."""
    recorder = Recorder([MetricsFile(folder / "metrics.jsonl"), board])
    for line in LINES[first:last]:
        recorder.write(*line)
    recorder._sinks[0].close()


def _killed(board: TensorBoardSink) -> None:
    """Close the file, as the end of its process would: nothing that was not flushed is written."""
    writer = board._events._writer
    assert writer is not None
    size = writer.events.path.stat().st_size
    board.close()
    assert writer.events.path.stat().st_size == size


def _reader(folder: Path, *, purge: bool = True) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    guidance = {"scalars": 0, "tensors": 0}
    return EventAccumulator(str(folder), size_guidance=guidance, purge_orphaned_data=purge).Reload()


def _points(folder: Path, *, purge: bool = True) -> Points:
    reader = _reader(folder, purge=purge)
    return {tag: [(p.step, p.value) for p in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def _cut_short(folder: Path, kills: int) -> None:
    """Record the run with `kills` deaths: each a little way behind the checkpoint that the next life goes on from."""
    luck, board, at = random.Random(kills), _sink(folder), 0
    for _ in range(kills):
        checkpoint = luck.randrange(at, len(LINES) - 12)
        _record(folder, at, checkpoint, board)
        offset, state = (folder / "metrics.jsonl").stat().st_size, copy.deepcopy(board.state_dict())
        _record(folder, checkpoint, checkpoint + luck.randrange(1, 12), board)
        _killed(board)
        cut(folder / "metrics.jsonl", offset)
        board, at = _sink(folder), checkpoint
        board.load_state_dict(state)
    _record(folder, at, len(LINES), board)
    board.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    board = _sink(folder)
    _record(folder, 0, len(LINES), board)
    board.close()
    return folder


@pytest.mark.fault("F12")
def test_a_run_that_went_on_has_no_step_twice(whole: Path, tmp_path: Path, survived: Callable[[int], None]) -> None:
    """For readers that purge, readers that do not, and readers of files: the points of a run that nothing stopped."""
    expected = _points(whole)
    for kills in (1, 4):
        folder = tmp_path / str(kills)
        folder.mkdir()
        _cut_short(folder, kills)
        for points in (_points(folder), _points(folder, purge=False), plainly(folder)):
            assert doubles(points) == 0
            assert points == expected
        assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
        tensors = [_reader(at).Tensors("custom_scalars__config__") for at in (folder, whole)]
        assert [p.tensor_proto for p in tensors[0]] == [p.tensor_proto for p in tensors[1]]
        assert len(_reader(folder).Tensors("config/text_summary")) == 1
    survived(1 + 4)


def test_purging_alone_would_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without cutting, readers that do not purge see steps twice; so do those that purge, in the stripes."""
    monkeypatch.setattr(os, "truncate", lambda path, size: None)
    monkeypatch.setattr(Path, "unlink", lambda self: None)
    _cut_short(tmp_path, 4)
    assert doubles(plainly(tmp_path)) > 50
    purged = {tag: n for tag, values in _points(tmp_path).items() if (n := doubles({tag: values}))}
    assert purged
    assert all(tag.startswith("stripes/") for tag in purged)


@pytest.mark.fault("F12")
def test_a_tensorboard_that_looks_on_forgets_what_was_lost(tmp_path: Path) -> None:
    """It has seen the steps that are taken again; the new file tells it to forget them."""
    board = _sink(tmp_path)
    _record(tmp_path, 0, 11, board)
    offset, state = (tmp_path / "metrics.jsonl").stat().st_size, board.state_dict()
    _record(tmp_path, 11, 16, board)
    reader = _reader(tmp_path)
    assert reader.Scalars("task/return")[-1].step > state["step"]
    _killed(board)
    cut(tmp_path / "metrics.jsonl", offset)
    board = _sink(tmp_path)
    board.load_state_dict(state)
    _record(tmp_path, 11, len(LINES), board)
    _killed(board)
    steps = [point.step for point in reader.Reload().Scalars("task/return")]
    assert steps == [step for step, values in LINES if "task/return" in values]


@pytest.mark.fault("F12")
@pytest.mark.parametrize("harm", ["gone", "short", "a link", "never whole"])
def test_event_files_that_are_not_whole_are_written_anew(whole: Path, tmp_path: Path, harm: str) -> None:
    """All of them are in `metrics.jsonl`; what a link points to is let alone."""
    folder = tmp_path / "run"
    folder.mkdir()
    board = _sink(folder)
    _record(folder, 0, 20, board)
    state = board.state_dict()
    _killed(board)
    (file,) = folder.glob("events.out.*")
    outside = tmp_path / "outside"
    outside.write_bytes(file.read_bytes() + b"more")
    if harm in ("gone", "a link"):
        file.unlink()
    if harm == "a link":
        file.symlink_to(outside)
    if harm == "short":
        os.truncate(file, state["files"][file.name] - 1)
    if harm == "never whole":
        state["files"] = {}
    size = outside.stat().st_size
    board = _sink(folder)
    board.load_state_dict(state)
    _record(folder, 20, len(LINES), board)
    board.close()
    assert plainly(folder) == _points(folder) == _points(whole)
    assert outside.stat().st_size == size


@contextmanager
def _room(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.fault("F5")
@pytest.mark.parametrize("size", [0, 40, 501, 3999])
def test_a_full_disk_ends_the_view_and_not_the_run(whole: Path, tmp_path: Path, size: int) -> None:
    """One line tells it, nothing is raised, to the very end; the next life writes it all from `metrics.jsonl`."""
    (tmp_path / "metrics.jsonl").write_bytes((whole / "metrics.jsonl").read_bytes())
    said: list[str] = []
    board = _sink(tmp_path, said)
    with _room(size):
        for line in LINES:
            board.write(*line)
        board.finish({"score": 1.0})
        state = board.state_dict()
        board.close()
    assert len(said) == 1
    assert said[0].startswith(f"warning: TensorBoard shows no more of {tmp_path}, ")
    assert "\n" not in said[0]
    assert state["files"] == {}
    healed = _sink(tmp_path)
    healed.load_state_dict(state)
    healed.close()
    assert plainly(tmp_path) == _points(whole)


@pytest.mark.fault("F6")
def test_a_folder_that_is_taken_away_ends_the_view_and_not_the_run(tmp_path: Path) -> None:
    """Before the first value, and between two of them."""
    said: list[str] = []
    board = _sink(tmp_path / "file" / "run", said)
    (tmp_path / "file").touch()
    board.write(*LINES[0])
    board.close()
    assert len(said) == 1
    folder = tmp_path / "run"
    board = _sink(folder, said)
    board.write(*LINES[0])
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    board.write(*LINES[1])
    assert board.state_dict()["files"] == {}
    board.close()
    assert len(said) == 2


@pytest.mark.fault("F12")
def test_a_life_before_the_first_checkpoint_leaves_no_events(whole: Path, tmp_path: Path) -> None:
    """A run that begins again is read as if it had begun once."""
    board = _sink(tmp_path)
    _record(tmp_path, 0, 5, board)
    _killed(board)
    cut(tmp_path / "metrics.jsonl", 0)
    board = _sink(tmp_path)
    _record(tmp_path, 0, len(LINES), board)
    board.close()
    assert plainly(tmp_path) == _points(whole)


def test_values_from_before_the_state_is_loaded_do_not_count(whole: Path, tmp_path: Path) -> None:
    """What a start writes before it turns out to be a resumption is taken back."""
    board = _sink(tmp_path)
    _record(tmp_path, 0, 20, board)
    state = board.state_dict()
    _killed(board)
    board = _sink(tmp_path)
    board.write(0, {"task/return": 9.0})
    board.load_state_dict(state)
    _record(tmp_path, 20, len(LINES), board)
    board.close()
    assert plainly(tmp_path) == _points(whole)


def test_a_file_comes_after_those_there_are_even_if_the_clock_was_set_back(tmp_path: Path) -> None:
    """TensorBoard reads them by name, once."""
    board = _sink(tmp_path)
    board.write(*LINES[0])
    state = board.state_dict()
    _killed(board)
    ((name, size),) = state["files"].items()
    later = name.replace(name.split(".")[3], "3000000000")
    (tmp_path / name).rename(tmp_path / later)
    board = _sink(tmp_path)
    board.load_state_dict(state | {"files": {later: size}})
    board.close()
    assert min(path.name for path in tmp_path.iterdir()) == later
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.fault("F12")
def test_of_two_that_write_at_once_one_is_read(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that came last takes away the file of the other, which says that nobody sees it any more, and goes on."""
    said: list[str] = []
    first, last = _sink(tmp_path, said), _sink(tmp_path)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(os, "getpid", lambda: 1)
        first.write(*LINES[0])
    for line in LINES:
        last.write(*line)
        first.write(*line)
    assert first.state_dict()["files"] == {}
    assert len(said) == 1
    first.close()
    last.close()
    assert plainly(tmp_path) == plainly(whole)


# What callbacks remember


class _Agent:
    """As much of a model as a callback looks at; with every step it logs what an agent would."""

    num_envs = 2

    def __init__(self, written: list[Any]) -> None:
        self.logger = logger_into(Recorder([SimpleNamespace(write=lambda *line: written.append(line))]))  # type: ignore[list-item]
        self.num_timesteps = 0

    def get_env(self) -> None:
        """Have none."""

    def get_vec_normalize_env(self) -> None:
        """Have none."""

    def dump_logs(self) -> None:
        """Write what was logged."""
        self.logger.dump(self.num_timesteps)

    def live(self, callback: BaseCallback, first: int, last: int) -> None:
        """Take the steps from `first` to `last`, two copies at once, a rollout every 8; all is drawn from the step."""
        callback.model = self  # type: ignore[assignment]
        for at in range(first, last, 2):
            if at % 8 == 0:
                callback._on_rollout_start()
            luck = random.Random(at)
            self.num_timesteps = callback.num_timesteps = at + 2
            self.logger.record_mean("train/noise", np.float32(luck.random()))
            self.logger.record("train/last", luck.random(), exclude="csv")
            done = luck.random() < 0.3
            info = {"drift": {"g": np.float64(at), "n": at}} | ({"episode": {"r": luck.random()}} if done else {})
            callback.locals = {"infos": [info, info], "rewards": np.array([luck.random(), 0.1]), "dones": [done, done]}
            callback._on_step()


def _is_plain(tree: Any) -> bool:
    if isinstance(tree, dict):
        return all(type(key) in (str, int) for key in tree) and all(map(_is_plain, tree.values()))
    if isinstance(tree, list):
        return all(map(_is_plain, tree))
    return type(tree) in (bool, int, float, str, np.ndarray) or tree is None


Make = Callable[[Path, list[Any]], Any]


def _report(folder: Path, written: list[Any]) -> TaskReport:
    recorder = Recorder([SimpleNamespace(write=lambda *line: written.append(line))])  # type: ignore[list-item]
    return TaskReport(recorder, steps_per_task=40, report_every=14)


def _weights(folder: Path, written: list[Any]) -> KeepWeights:
    return KeepWeights(RunFolder(folder), 40)


def _moments(folder: Path, written: list[Any]) -> KeepMoments:
    return KeepMoments({}, 40, lambda *line: written.append(line))


def _evaluation(folder: Path, written: list[Any]) -> Evaluation:
    asked = SimpleNamespace(every=12, tasks=(0,), episodes=1)
    config: Any = SimpleNamespace(evaluation=asked, steps_per_task=40, seed=0)
    recorder = Recorder([SimpleNamespace(write=lambda *line: written.append(line))])  # type: ignore[list-item]
    return Evaluation(config, recorder, RunFolder(folder), {})


MAKERS: dict[str, Make] = {"report": _report, "weights": _weights, "moments": _moments, "evaluation": _evaluation}


def _life(make: Make, folder: Path, middle: int | None, spoil: Callable[[Mapping[str, Any]], Any] = dict) -> list[Any]:
    """Return all that a callback wrote in 200 steps; with a `middle`, another one goes on there from its state."""
    written: list[Any] = []
    agent, callback = _Agent(written), make(folder, written)
    agent.live(callback, 0, 200 if middle is None else middle)
    if middle is not None:
        callback.model = agent
        callback._on_rollout_start()
        state = callback.state_dict()
        assert _is_plain(state)
        state, agent, callback = copy.deepcopy(state), _Agent(written), make(folder, written)
        callback.model = agent
        callback.load_state_dict(spoil(state))
        agent.num_timesteps = callback.num_timesteps = middle
        agent.live(callback, middle, 200)
    written.append(callback.state_dict() if isinstance(callback, KeepMoments) else None)
    return written


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Evaluations without a world, by step; returns the list of what was saved."""
    saved: list[str] = []
    monkeypatch.setattr(reporting, "save_weights", lambda model, path: saved.append(path.name))
    monkeypatch.setattr(evaluation, "save_weights", lambda model, path: saved.append(path.name))
    monkeypatch.setattr(evaluation, "play", lambda *of, seed, episodes: [random.Random(seed).random()])
    return saved


@pytest.mark.parametrize("name", MAKERS)
def test_a_callback_goes_on_from_its_state(name: str, scores: list[str], tmp_path: Path) -> None:
    """From the start of any rollout it writes and saves what it would have, to the last bit; its state is plain."""
    straight = _life(MAKERS[name], tmp_path, None)
    assert len(straight) > 1 or scores
    saved = list(scores)
    for middle in range(8, 200, 8):
        scores.clear()
        assert _life(MAKERS[name], tmp_path, middle) == straight
        assert scores == saved


FRESH = {
    "report": {"report_at": 14, "ended": [], "reported": 0, "earned": 0.0, "pending": {}},
    "weights": {"saved": 0},
    "moments": {"moments": {}, "episode": 0},
    "evaluation": {"at": 12, "best": -math.inf},
}


@pytest.mark.parametrize(("name", "part"), [(name, part) for name, parts in FRESH.items() for part in parts])
def test_each_part_of_a_state_is_needed(name: str, part: str, scores: list[str], tmp_path: Path) -> None:
    """Without it, there is a rollout from which the callback goes on otherwise."""
    straight, saved = _life(MAKERS[name], tmp_path, None), list(scores)

    def spoil(state: Mapping[str, Any]) -> dict[str, Any]:
        assert state.keys() == FRESH[name].keys()
        return {**state, part: copy.deepcopy(FRESH[name][part])}

    def differs(middle: int) -> bool:
        scores.clear()
        return _life(MAKERS[name], tmp_path, middle, spoil) != straight or scores != saved

    assert any(differs(middle) for middle in islice(range(8, 200, 8), 24))


def test_moments_are_loaded_where_others_look(tmp_path: Path) -> None:
    """The evaluation holds the same mapping, which is filled, not replaced."""
    shared: dict[int, Moment] = {9: Moment()}
    callback = KeepMoments(shared, 40, lambda *line: None)
    state = {"moments": {0: {"drift": {"g": 1.5}, "episode": 3}}, "episode": 3}
    callback.load_state_dict(state)
    assert shared == {0: Moment({"g": 1.5}, 3)}
    state["moments"][0]["drift"]["g"] = 0.0  # type: ignore[index]
    assert shared == {0: Moment({"g": 1.5}, 3)}
