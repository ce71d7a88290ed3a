"""Tapes: what really happened to the parameters of a world, in a file that any library can play back.

A line of a tape is JSON, `{"step": 500, "parameter": "gravity", "value": 20.0}`: from that step on, in total
environment steps, the parameter had that value. A tape tells one life, and only what changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from lopgym.envs.drift_clock import DriftClock, Drifts
from lopgym.envs.layers import need_drift
from lopgym.envs.vector_info import Info
from lopgym.schedules.recorded import Between, Change, read_tape

_PILE = 1000  # changes that are written together


class TapeRecorder:
    """Writes a tape while a world goes on; going back in time takes back what was to come.

    Attributes:
        path: the file; what was in it is lost.
        changes: all lines so far.
    """

    def __init__(self, path: str | Path) -> None:
        """Begin an empty tape."""
        self.path, self.changes = Path(path), list[Change]()
        self._written, self._now = 0, dict[str, float]()
        self.path.write_text("")

    def hear(self, step: int, values: Mapping[str, float]) -> None:
        """Note which parameters have another value at `step` than before it."""
        last = self.changes[-1].step if self.changes else -1
        if step < last or (step == last and values != self._now):
            self._go_back(step)
        for parameter, value in values.items():
            if value != self._now.get(parameter):
                self.changes.append(Change(int(step), parameter, float(value)))
                self._now[parameter] = value
        if len(self.changes) - self._written >= _PILE:
            self.save()

    def save(self) -> None:
        """Write what was noted since the last time."""
        with self.path.open("a") as file:
            file.writelines(_lines(self.changes[self._written :]))
        self._written = len(self.changes)

    def _go_back(self, step: int) -> None:
        self.changes = [change for change in self.changes if change.step < step]
        self._now = {change.parameter: change.value for change in self.changes}
        self._written = 0
        self.path.write_text("")

    def __getstate__(self) -> NoReturn:
        """Refuse to be copied: two recorders would write one file."""
        raise TypeError(f"the recorder of {self.path} cannot be copied or pickled: copy the environment inside it")


class RecordTape(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Record a tape of what drifts in an environment: `path` has it whole after `close`, and at every reset so far.

    The tape reproduces the run: `played(path)` are drifts for the same environment. Numbers of tasks are those of the
    jumps of value, so on a tape a smooth drift has one at every step, unless its values are joined (`between`).
    """

    def __init__(self, env: gym.Env[Any, Any], *, path: str) -> None:
        """Put the recorder around an environment that has a drift layer; the file at `path` is replaced.

        Raises:
            ValueError: there is no drift layer.
        """
        need_drift(env, "record")
        RecordConstructorArgs.__init__(self, path=path)
        gym.Wrapper.__init__(self, env)
        self.tape = TapeRecorder(path)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and note what was in force."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.tape.hear(info["clock"], info["drift"])
        return observation, reward, terminated, truncated, info

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; a new life or an earlier step begins the tape from there."""
        observation, info = self.env.reset(seed=seed, options=options)
        self.tape.hear(info["clock"], info["drift"])
        self.tape.save()
        return observation, info

    def close(self) -> None:
        """Save the tape, and close the environment."""
        self.tape.save()
        super().close()


class RecordTapeVector(gym.vector.VectorWrapper):
    """Record one tape of a batch; its copies must drift together."""

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any], *, path: str) -> None:
        """Put the recorder around a batch that has a drift layer; the file at `path` is replaced.

        Raises:
            ValueError: there is no drift layer.
        """
        need_drift(env, "record")
        super().__init__(env)
        self.tape = TapeRecorder(path)

    def step(self, actions: NDArray[Any]) -> tuple[Any, Any, Any, Any, Info]:
        """Step, and note what was in force.

        Raises:
            ValueError: copies differ.
        """
        observation, reward, terminated, truncated, info = self.env.step(actions)
        moments = [*_moments(info.get("final_info", {})), *_moments(info)]
        for step, values in sorted(moments, key=lambda moment: moment[0]):
            self.tape.hear(step, values)
        return observation, reward, terminated, truncated, info

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, Info]:
        """Begin episodes; a new life or an earlier step begins the tape from there."""
        observation, info = self.env.reset(seed=seed, options=options)
        for step, values in _moments(info):
            self.tape.hear(step, values)
        self.tape.save()
        return observation, info

    def close(self, **kwargs: Any) -> None:
        """Save the tape, and close the batch."""
        self.tape.save()
        super().close(**kwargs)


def _moments(info: Info) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield (step, parameter -> value) for the steps that an info speaks of, rising."""
    clocks = info.get("clock", np.zeros(0, dtype=np.int64))
    told = info.get("_clock", np.ones(len(clocks), dtype=np.bool_))
    for step in np.unique(clocks[told]):
        who = told & (clocks == step)
        drift = {name: values[who] for name, values in info["drift"].items() if not name.startswith("_")}
        for name, values in drift.items():
            if (values != values[0]).any():
                raise ValueError(f"copies differ in {name} at step {step}: a tape tells one value; record them singly")
        yield int(step), {name: float(values[0]) for name, values in drift.items()}


def realised_changes(drifts: Drifts, *, steps: int, world_seed: int = 0) -> Iterator[Change]:
    """Yield what happens to the parameters in the first `steps` steps of a world, without running it."""
    clock, before = DriftClock(drifts, world_seed), dict[str, float]()
    for t in range(steps):
        if t == 0 or clock.advance(1):
            yield from (Change(t, name, value) for name, value in clock.values.items() if value != before.get(name))
            before = clock.values


def write_tape(path: str | Path, changes: Iterable[Change]) -> None:
    """Write a tape."""
    with Path(path).open("w") as file:
        file.writelines(_lines(changes))


def played(path: str | Path, *, between: Between = "hold") -> dict[str, dict[str, Any]]:
    """Return the drifts, as plain data, that play a tape back.

    Args:
        path: a tape.
        between: `hold` each value until the next line, every line a task change; or join them by straight lines
            (`linear`), nothing a task change: right for what moved at every step, such as a sine.

    Raises:
        ValueError: it is no tape.
    """
    parameters = dict.fromkeys(change.parameter for change in read_tape(path))
    told = {"kind": "tape", "path": str(path), "between": between}
    return {name: told | {"parameter": name} for name in parameters}


def _lines(changes: Iterable[Change]) -> Iterator[str]:
    return (json.dumps(change._asdict()) + "\n" for change in changes)
