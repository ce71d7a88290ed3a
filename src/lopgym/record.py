"""What a run leaves behind: a folder, and in it the truth, `metrics.jsonl`. Everything else is a view of that."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lopgym.files import named, whole
from lopgym.strict_yaml import dump


@dataclass(frozen=True)
class RunFolder:
    """The names of things in `runs/<study>/<variant>/seed-<n>/`."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config, YAML."""
        return self.path / "config.yaml"

    @property
    def about(self) -> Path:
        """Versions, command line, git commit, threads, device and status, JSON."""
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        """One JSON object a line: `{"step": 800, "task/return": 0.4}`; steps never fall."""
        return self.path / "metrics.jsonl"

    @property
    def spectra(self) -> Path:
        """Singular values, JSON a line: `{"step": 800, "q.hidden0": {"activations": [0.4, 0.1]}}`; if asked for."""
        return self.path / "spectra.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Network weights: `task-<k>.npz` at the end of task k, `best.npz` by evaluation."""
        return self.path / "checkpoints"

    def create(self) -> RunFolder:
        """Make the folder, unless there is one.

        Raises:
            OSError: it cannot be written.
        """
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        return self

    @property
    def finished(self) -> bool:
        """Whether a run was trained to its end in there."""
        return self.about.exists() and json.loads(self.about.read_text())["status"] == "finished"

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the resolved config, whole or not at all."""
        with whole(self.config) as file:
            file.write(dump(dict(config)))

    def write_about(self, about: Mapping[str, Any]) -> None:
        """Write `run.json`, whole or not at all."""
        with whole(self.about) as file:
            file.write(json.dumps(about, indent=2) + "\n")


class Sink(Protocol):
    """Something that wants every value of a run: a file, TensorBoard, a progress bar."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Take values measured at `step` (environment steps over all copies)."""

    def close(self) -> None:
        """Flush and let go."""


class MetricsFile:
    """The sink that writes `metrics.jsonl`. Each line is flushed, so that a reader may follow a running run."""

    def __init__(self, path: Path) -> None:
        """Open the file for appending."""
        self._path, self._file = path, path.open("a")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line. JSON has no NaN or infinity; they are written as strings."""
        plain = {tag: value if math.isfinite(value) else str(float(value)) for tag, value in values.items()}
        with named(self._path):
            self._file.write(json.dumps({"step": step, **plain}) + "\n")
            self._file.flush()

    def offset(self) -> int:
        """Put every line on the disk, and return how many bytes they are: a run may go on from there, see `cut`.

        Raises:
            OSError: the disk takes no more, or the file was taken away, and lines go where nobody will find them.
        """
        with named(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
        here = os.fstat(self._file.fileno())
        if not os.path.samestat(here, self._path.stat()):
            raise FileNotFoundError(errno.ENOENT, "is another file now", str(self._path))
        return here.st_size

    def close(self) -> None:
        """Close the file."""
        with named(self._path):
            self._file.close()


class Recorder:
    """Hands every value to every sink, as plain floats."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        """Write to `sinks`, in their order."""
        self._sinks = tuple(sinks)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Record values measured at `step`; nothing is written for no values."""
        if values:
            plain = {tag: float(value) for tag, value in values.items()}
            for sink in self._sinks:
                sink.write(step, plain)

    def close(self) -> None:
        """Close every sink, even if one of them cannot be closed; then its error is raised."""
        with ExitStack() as closing:
            for sink in reversed(self._sinks):
                closing.callback(sink.close)


class LinesLost(Exception):  # noqa: N818  an error in its name would say no more
    """A file of lines ends before the place from which a run is to go on."""

    exit_code = 3


def hold_lines(path: Path, offset: int) -> None:
    """Hold a file of lines to have a line that ends at byte `offset`, from where a run can go on.

    A file that is not there is one of 0 bytes.

    Raises:
        LinesLost: it does not have so many bytes, or they do not end a line.
    """
    if offset == 0 and not path.exists():
        return
    if not path.is_file():
        raise LinesLost(f"{path} is not there, and a run cannot go on without its first {offset} bytes")
    with path.open("rb") as file:
        file.seek(max(0, offset - 1))
        if offset and file.read(1) != b"\n":
            size = os.fstat(file.fileno()).st_size
            raise LinesLost(f"{path}: no line ends at byte {offset} of its {size}, from which the run is to go on")


def cut(path: Path, offset: int) -> None:
    """Drop what a file of lines holds behind its first `offset` bytes: a run goes on from there.

    Raises:
        LinesLost: as `hold_lines` does.
    """
    hold_lines(path, offset)
    if not path.exists():
        return
    with path.open("r+b") as file:
        file.truncate(offset)
        os.fsync(file.fileno())


def read_metrics(path: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield (step, values) of each line; a last line that is still being written is left out."""
    with path.open() as lines:
        for line in lines:
            if line.endswith("\n"):
                values = json.loads(line)
                step = values.pop("step")
                yield step, {tag: float(value) for tag, value in values.items()}


def repeatable(path: Path, until: float = math.inf) -> list[tuple[int, dict[str, float]]]:
    """Return what a run recorded up to a step, measured costs (`time/...`) left out.

    It is a function of config and seed: two runs that must be one agent so far have equal lists.
    """
    lines = [
        (step, {tag: v for tag, v in values.items() if not tag.startswith("time/")})
        for step, values in read_metrics(path)
    ]
    return [(step, values) for step, values in lines if values and step <= until]


def series(path: Path, tag: str) -> tuple[list[int], list[float]]:
    """Return steps and values of one tag."""
    points = [(step, values[tag]) for step, values in read_metrics(path) if tag in values]
    return [step for step, _ in points], [value for _, value in points]
