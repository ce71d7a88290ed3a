"""Memory: what a run is sure to fill, held against what there is before any of it is taken."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym

from lopgym.envs import environments, has_batch
from lopgym.store.manifest import ARRAYS, LIMITS
from lopgym.studies.config import Config
from lopgym.studies.faults import Fault
from lopgym.studies.faults import Path as Keys

COPY = 4096  # bytes of one copy of a world beside what it shows: its clocks and random streams, what it says in `info`
SHOWN = 4  # arrays that hold what a copy shows: its own, that of the step before, two on the way to the agent
SINGLES = 6  # float32 numbers of one step in a rollout: its reward, return, value, advantage ...
ENDS = 3  # and of one transition in a replay buffer: its reward, whether it is the last one, and why
KEPT = (
    3  # times that a checkpoint holds what it keeps, beside the buffer: a copy, the file's bytes, and these read back
)
MANY, WEIGHED = 256, 16  # copies from which on it matters what one weighs; how many are put on the scales
_CONTAINERS = (  # what one may take, and has taken, in either version of control groups
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


@dataclass(frozen=True)
class Need:
    """What one option takes.

    Args:
        path: keys of the option.
        count: how many.
        what: of what.
        each: bytes of one.
    """

    path: Keys
    count: int
    what: str
    each: float

    @property
    def bytes(self) -> float:
        """Of all."""
        return self.count * self.each


def memory(config: Config, world: gym.Env[Any, Any]) -> Iterator[Fault]:
    """Find the option that asks for more memory than there is; of several, the one that asks for most.

    Args:
        config: of a run.
        world: one copy of its world, whose spaces are no nested ones.
    """
    try:
        needs = list(_needs(config, world))
    except Exception as error:  # worlds are anybody's, and these are the first that begin
        said = " ".join(f"{type(error).__name__}: {error}".split())
        yield ("env",), f"a copy of the world cannot be begun: {said}"
        return
    here, total = available(), sum(need.bytes for need in needs)
    if total > here:
        most = max(needs, key=lambda need: need.bytes)
        room = int((here - total + most.bytes) / most.each)
        near = f"; there is room for {room:,}" if room > 0 else ""
        takes = f"{most.count:,} {most.what} take {_size(most.bytes)} of memory, the run {_size(total)} in all"
        yield most.path, f"{takes}, and {_size(here)} are available{near}"
    yield from _too_large_to_keep(config, world)


def _too_large_to_keep(config: Config, world: gym.Env[Any, Any]) -> Iterator[Fault]:
    """Find a replay buffer of which no checkpoint could be written: hours later, when it has filled."""
    count, each, limit = _transitions(config), _transition(world), LIMITS[ARRAYS]
    if config.checkpoint.every and count * each > limit:
        takes = f"{count:,} transitions take {_size(count * each)} of a checkpoint, which may have {_size(limit)}"
        near = f"there is room for {int(0.99 * limit / each):,}; or checkpoint.every=0"  # the network is in it, too
        yield ("agent", "buffer_size"), f"{takes}; {near}"


def _needs(config: Config, world: gym.Env[Any, Any]) -> Iterator[Need]:
    agent, copies = config.agent.model_dump(), config.env.n_envs
    shown, done = _bytes(world.observation_space), _bytes(world.action_space)
    weight = _weight(config) + SHOWN * shown
    yield Need(("env", "n_envs"), copies, "copies of the world", weight)
    if config.evaluation.every:
        yield Need(("evaluation", "episodes"), config.evaluation.episodes, "copies of the world", weight)
    if "n_steps" in agent:
        each = (shown + done + 4 * SINGLES) * copies
        yield Need(("agent", "n_steps"), agent["n_steps"], "steps of all copies", each)
    if filled := _transitions(config):
        each = _transition(world) * (1 + (KEPT if config.checkpoint.every else 0))
        yield Need(("agent", "buffer_size"), filled, "transitions", each)


def _transitions(config: Config) -> int:
    """Return how many a replay buffer will hold, 0 without one: what is not filled is not taken."""
    size: int = config.agent.model_dump().get("buffer_size", 0)
    return min(size, config.tasks * config.steps_per_task)


def _transition(world: gym.Env[Any, Any]) -> int:
    return 2 * _bytes(world.observation_space) + _bytes(world.action_space) + 4 * ENDS


def _bytes(space: gym.Space[Any]) -> int:
    assert space.dtype is not None, "only nested spaces have no type"
    return math.prod(space.shape or (1,)) * space.dtype.itemsize


def _weight(config: Config) -> float:
    """Return the bytes of one copy. Separate ones are weighed where they are many: those of MuJoCo take a megabyte."""
    from lopgym.studies.worlds import world_options

    native = {f"lopgym/{entry.facts['id']}" for entry in environments if has_batch(entry)}
    if max(config.env.n_envs, config.evaluation.episodes) < MANY or world_options(config)["id"] in native:
        return COPY
    with warnings.catch_warnings(action="ignore"), ExitStack() as worlds:
        _begin(config, worlds)  # it brings in what all share
        before = _resident()
        for _ in range(WEIGHED):
            _begin(config, worlds)
        return max((_resident() - before) / WEIGHED, COPY)


def _begin(config: Config, worlds: ExitStack) -> None:
    from lopgym.studies.worlds import single_world

    worlds.enter_context(closing(single_world(config))).reset(seed=0)


def available() -> float:
    """Return how many bytes may still be taken, as far as the system says: infinitely many where it says nothing."""
    return min(_of_machine(), *(_of_container(Path(folder), *files) for folder, *files in _CONTAINERS))


def _of_machine() -> float:
    said = 1024 * _field(Path("/proc/meminfo"), "MemAvailable:")
    return said if math.isfinite(said) else _number(lambda: os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _of_container(folder: Path, limit: str, taken: str) -> float:
    """Return what a container may still take; files that it has read lately count as taken, and make way."""
    known = (_number((folder / taken).read_text), _field(folder / "memory.stat", "inactive_file"))
    in_use, makes_way = (size if math.isfinite(size) else 0.0 for size in known)
    return max(_number((folder / limit).read_text) - max(in_use - makes_way, 0.0), 0.0)


def _field(file: Path, name: str) -> float:
    """Return the number behind `name` in a file of such lines; infinity if it is not there."""
    return _number(lambda: next(line.split()[1] for line in file.read_text().splitlines() if line.split()[0] == name))


def _resident() -> float:
    """Return the bytes of memory that this process has; 0 where nobody says."""
    pages = _number(lambda: Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") if math.isfinite(pages) else 0.0


def _number(say: Callable[[], str | int]) -> float:
    with suppress(OSError, ValueError, AttributeError, LookupError, StopIteration):
        return float(say())
    return math.inf


def _size(number: float) -> str:
    """Write bytes as people do.

    >>> _size(3 * 2**30), _size(1e15)
    ('3.0 GiB', '931,322.6 GiB')
    """
    return f"{number / 2**30:,.1f} GiB"
