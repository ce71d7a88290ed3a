"""What can be said of a drift, in a few numbers for each of N copies: in time or late, true or garbled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lopgym.envs.layers import need_drift, stack
from lopgym.envs.snapshot import Snapshot, Stateful, check_keys
from lopgym.physics import Parametric
from lopgym.registry import nearest
from lopgym.seeding import CounterStream

Mask = NDArray[np.bool_]
Numbers = NDArray[np.float64]
Drift = Mapping[str, NDArray[Any]]  # parameter -> value for each copy, shape (N,)


class Voice(Stateful):
    """Says K numbers of each copy, from what is in force in it. Copy i seeded s says what a lone copy seeded s does.

    Attributes:
        low, high: bounds of every number.
        size: K.
    """

    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0
    size: int

    def __init__(self, env: Any, copies: int, *, delay: int, noise: float) -> None:
        """Speak of `copies` copies, `delay` observations late, with this much `noise`.

        Raises:
            ValueError: `env` has no drift layer, the delay is no number of observations, or the noise not in [0, 1].
        """
        need_drift(env, "tell")
        self.delay = _whole("delay", delay, least=0)
        if not isinstance(noise, int | float) or not 0 <= noise <= 1:
            raise ValueError(f"noise={noise!r} must be from 0 to 1")
        self.noise = noise
        self.begin([None] * copies)

    def begin(self, seeds: Sequence[int | None]) -> None:
        """Forget what was; from here on the luck of each copy follows its seed, or none."""
        drawn = np.random.SeedSequence().generate_state(len(seeds)).tolist()
        self._open([luck if seed is None else int(seed) for seed, luck in zip(seeds, drawn, strict=True)])
        self._heard = np.zeros(len(seeds), dtype=np.int64)
        self._news: list[Numbers] = []  # the newest last, shape (N, K) each
        self._before: Numbers = np.zeros((len(seeds), 0))

    def hear(self, task: NDArray[np.int64], drift: Drift, who: Mask) -> Numbers:
        """Hear what is in force in some copies, bool (N,); return what is said of all, shape (N, K)."""
        now, on = self._facts(np.asarray(task), drift), who[:, None]
        if not self._news:
            self._news, self._before = [self._words(now, now)] * (self.delay + 1), now
        later = [*self._news[1:], self._words(now, self._before)]
        self._news = [np.where(on, new, old) for new, old in zip(later, self._news, strict=True)]
        self._before = np.where(on, now, self._before)
        self._heard += who
        return self._garbled(self._news[0]) if self.noise else self._news[0]

    def snapshot(self) -> Snapshot:
        """Return what it has heard, and its luck."""
        news = [np.array(one) for one in self._news]
        return {"seeds": list(self._seeds), "heard": self._heard.copy(), "news": news, "before": self._before.copy()}

    def restore(self, snapshot: Snapshot) -> None:
        """Go on speaking from a snapshot."""
        check_keys(self, snapshot, ("seeds", "heard", "news", "before"))
        self._open(snapshot["seeds"])
        self._heard, self._before = np.array(snapshot["heard"]), np.array(snapshot["before"])
        self._news = [np.array(one) for one in snapshot["news"]]

    def _open(self, seeds: Sequence[int]) -> None:
        self._seeds = list(seeds)
        self._stream = CounterStream(self._seeds, type(self).__name__)

    def _facts(self, task: NDArray[np.int64], drift: Drift) -> Numbers:
        """Return what this voice takes notice of, shape (N, K)."""
        raise NotImplementedError

    def _words(self, now: Numbers, before: Numbers) -> Numbers:
        """Return what it says of the facts, shape (N, K); the first time those before are those of now."""
        return now

    def _garbled(self, told: Numbers) -> Numbers:
        """Return the numbers with noise, within the bounds; the same as long as nothing new is heard."""
        raise NotImplementedError

    def _luck(self, draw: int) -> Numbers:
        return self._stream.uniform(self._heard, draw)


class TaskIdVoice(Voice):
    """The number of the task modulo `tasks`, one-hot; noise is the probability of a random one instead."""

    def __init__(self, env: Any, copies: int, *, tasks: int, delay: int, noise: float) -> None:
        """Tell `tasks` tasks apart."""
        self.size = _whole("tasks", tasks, least=1)
        super().__init__(env, copies, delay=delay, noise=noise)

    def _facts(self, task: NDArray[np.int64], drift: Drift) -> Numbers:
        return np.eye(self.size)[task % self.size]

    def _garbled(self, told: Numbers) -> Numbers:
        other = np.eye(self.size)[(self._luck(1) * self.size).astype(np.int64)]
        return np.where((self._luck(0) < self.noise)[:, None], other, told)


class ChangeVoice(Voice):
    """1 if the task is another one than that of the observation before, else 0; noise is the probability of a lie."""

    size = 1

    def _facts(self, task: NDArray[np.int64], drift: Drift) -> Numbers:
        return task[:, None].astype(np.float64)

    def _words(self, now: Numbers, before: Numbers) -> Numbers:
        return np.asarray(now != before, dtype=np.float64)

    def _garbled(self, told: Numbers) -> Numbers:
        return np.where((self._luck(0) < self.noise)[:, None], 1 - told, told)


class DriftVoice(Voice):
    """The values, -1 at the lower bound of a parameter and 1 at its upper; noise is the most that is added."""

    low = -1.0

    def __init__(self, env: Any, copies: int, *, parameters: Sequence[str] | None, delay: int, noise: float) -> None:
        """Tell of these parameters, of all that drift and are no index if None."""
        super().__init__(env, copies, delay=delay, noise=noise)
        ranges = _ranges(env, parameters)
        self.size, self._names = len(ranges), tuple(ranges)
        self._lows, self._highs = np.array(list(ranges.values())).T

    def _facts(self, task: NDArray[np.int64], drift: Drift) -> Numbers:
        values = np.stack([np.asarray(drift[name], dtype=np.float64) for name in self._names], axis=1)
        return np.asarray(2 * (values - self._lows) / (self._highs - self._lows) - 1)

    def _garbled(self, told: Numbers) -> Numbers:
        luck = np.stack([self._luck(draw) for draw in range(self.size)], axis=1)
        return np.clip(told + self.noise * (2 * luck - 1), self.low, self.high)


class DifferenceVoice(DriftVoice):
    """By how much each value is another one than at the observation before, as a part of its range, -1 to 1."""

    def _words(self, now: Numbers, before: Numbers) -> Numbers:
        return (now - before) / 2


def _whole(name: str, value: Any, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name}={value!r} must be a whole number of at least {least}")
    return int(value)


def _ranges(env: Any, parameters: Sequence[str] | None) -> dict[str, tuple[float, float]]:
    """Return the bounds of parameters that drift.

    Raises:
        ValueError: one does not drift or is an index, whose value says nothing, or there is none to tell of.
    """
    layers = list(stack(env))
    drifting = [name for layer in layers for name in getattr(layer, "drifting", ())]
    fields = {
        name: field.metadata
        for layer in layers
        if isinstance(layer, Parametric)
        for name, field in layer.physics.__dataclass_fields__.items()
    }
    named = [name for name in drifting if fields[name]["unit"] != "index"] if parameters is None else list(parameters)
    for name in named:
        if name not in drifting:
            raise ValueError(f"{name!r} does not drift here; {nearest(name, drifting)}")
        if fields[name]["unit"] == "index":
            raise ValueError(f"{name!r} is an index: its value says nothing; tell the task by TaskIdObservation")
    if not named:
        raise ValueError(f"no value to tell of: {', '.join(drifting) or 'nothing'} drifts, and an index says nothing")
    return {name: (fields[name]["low"], fields[name]["high"]) for name in named}
