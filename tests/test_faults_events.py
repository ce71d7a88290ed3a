"""Event files of runs, torn or written by two: the run goes on, and every point is there once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lopgym.studies.compose import from_keywords
from lopgym.studies.locks import Locked
from lopgym.studies.progress import Progress
from lopgym.studies.run import execute
from tests.event_points import Points, doubles, plainly
from tests.living import CutOff


def _run_config(runs: Path) -> Any:
    small = {"tasks": 3, "steps_per_task": 80, "report_every": 20, "agent.learning_starts": 20, "checkpoint.every": 40}
    return from_keywords("catch_dqn", runs_dir=str(runs), **small)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Points:
    """What TensorBoard shows of a run that nothing stopped."""
    return plainly(execute(_run_config(tmp_path_factory.mktemp("trained"))).path)


def _steps(points: Points) -> dict[str, list[int]]:
    return {tag: [step for step, _ in values] for tag, values in points.items()}


def _cut_off(now: Progress) -> None:
    if now.step > 130:
        raise CutOff


def _append(path: Path, more: bytes) -> None:
    with path.open("ab") as file:
        file.write(more)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)


TEARS: dict[str, Callable[[Path], object]] = {
    "a byte short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "cut in the middle": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "half a record more": lambda path: _append(path, path.read_bytes()[24:57]),
    "a page of zeros more": lambda path: _append(path, bytes(4096)),
    "gone": Path.unlink,
    "another one beside it": lambda path: path.with_name(f"{path.name}.copy").write_bytes(path.read_bytes()),
    "a bit flipped": _flip,
}


@pytest.mark.fault("F12")
@pytest.mark.parametrize(
    "tear",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "half a record more" else pytest.mark.matrix)
        for name in TEARS
    ],
)
def test_a_run_whose_event_file_is_torn_goes_on(tear: str, trained: Points, tmp_path: Path) -> None:
    """To its end, and every point is there once; behind a bit that flipped in what was kept, the rest of that file."""
    config = _run_config(tmp_path)
    with pytest.raises(CutOff):
        execute(config, on_progress=_cut_off)
    (file,) = tmp_path.rglob("events.out.*")
    TEARS[tear](file)
    points = plainly(execute(config).path)
    assert doubles(points) == 0
    if tear == "a bit flipped":
        assert points.keys() == trained.keys()
        for tag, steps in _steps(points).items():
            whole = _steps(trained)[tag]
            assert {*steps} <= {*whole}, tag
            assert steps[-1] == whole[-1], tag
    else:
        assert _steps(points) == _steps(trained)


@pytest.mark.fault("F12")
@pytest.mark.slow
def test_a_second_run_in_the_same_folder_writes_nothing(trained: Points, tmp_path: Path) -> None:
    """It is refused while the first one trains, which goes on; every point is there once."""
    config, refused = _run_config(tmp_path), []

    def try_too(now: Progress) -> None:
        before = {path: path.stat().st_size for path in tmp_path.rglob("*")}
        with pytest.raises(Locked, match="is in use by process"):
            execute(config)
        refused.append({path: path.stat().st_size for path in tmp_path.rglob("*")} == before)

    points = plainly(execute(config, on_progress=try_too).path)
    assert len(refused) > 3
    assert all(refused)
    assert _steps(points) == _steps(trained)
    assert doubles(points) == 0
