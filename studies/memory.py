"""Memory: what a run is sure to fill, held against what there is before any of it is taken."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym

from lopgym.envs import environments, has_batch
from lopgym.studies.config import Config
from lopgym.studies.faults import Fault
from lopgym.studies.faults import Path as Keys

COPY = 4096  # bytes of one copy of a world beside what it shows: its clocks and random streams, what it says in `info`
SHOWN = 4  # arrays that hold what a copy shows: its own, that of the step before, two on the way to the agent
SINGLES = 6  # float32 numbers of one step in a rollout: its reward, return, value, advantage ...
ENDS = 3  # and of one transition in a replay buffer: its reward, whether it is the last one, and why
MANY, WEIGHED = 256, 16  # copies from which on it matters what one weighs; how many are put on the scales
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container


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
    needs, here = list(_needs(config, world)), available()
    total = sum(need.bytes for need in needs)
    if total > here:
        most = max(needs, key=lambda need: need.bytes)
        room = int((here - total + most.bytes) / most.each)
        near = f"; there is room for {room:,}" if room > 0 else ""
        takes = f"{most.count:,} {most.what} take {_size(most.bytes)} of memory, the run {_size(total)} in all"
        yield most.path, f"{takes}, and {_size(here)} are available{near}"


def _needs(config: Config, world: gym.Env[Any, Any]) -> Iterator[Need]:
    agent, copies, steps = config.agent.model_dump(), config.env.n_envs, config.tasks * config.steps_per_task
    shown, done = _bytes(world.observation_space), _bytes(world.action_space)
    weight = _weight(config) + SHOWN * shown
    yield Need(("env", "n_envs"), copies, "copies of the world", weight)
    if config.evaluation.every:
        yield Need(("evaluation", "episodes"), config.evaluation.episodes, "copies of the world", weight)
    if "n_steps" in agent:
        each = (shown + done + 4 * SINGLES) * copies
        yield Need(("agent", "n_steps"), agent["n_steps"], "steps of all copies", each)
    if "buffer_size" in agent:  # what is not filled is not taken, but a checkpoint copies what is
        each = (2 * shown + done + 4 * ENDS) * (2 if config.checkpoint.every else 1)
        yield Need(("agent", "buffer_size"), min(agent["buffer_size"], steps), "transitions", each)


def _bytes(space: gym.Space[Any]) -> int:
    assert space.dtype is not None, "only nested spaces have no type"
    return math.prod(space.shape or (1,)) * space.dtype.itemsize


def _weight(config: Config) -> float:
    """Return the bytes of one copy. Separate ones are weighed where they are many: those of MuJoCo take a megabyte."""
    from lopgym.studies.worlds import single_world, world_options

    native = {f"lopgym/{entry.facts['id']}" for entry in environments if has_batch(entry)}
    if max(config.env.n_envs, config.evaluation.episodes) < MANY or world_options(config)["id"] in native:
        return COPY
    with warnings.catch_warnings(action="ignore"):
        single_world(config).reset(seed=0)  # it brings in what all share
        before = _resident()
        worlds = [single_world(config) for _ in range(WEIGHED)]
        for world in worlds:
            world.reset(seed=0)
    weight = (_resident() - before) / WEIGHED
    for world in worlds:
        world.close()
    return max(weight, COPY)


def available() -> float:
    """Return how many bytes may still be taken, as far as the system says: infinitely many where it says nothing."""
    return min(_of_machine(), *(_number(Path(limit).read_text) for limit in _LIMITS))


def _of_machine() -> float:
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * float(line.split()[1])
    return _number(lambda: os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _resident() -> float:
    """Return the bytes of memory that this process has; 0 where nobody says."""
    pages = _number(lambda: Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") if math.isfinite(pages) else 0.0


def _number(say: Callable[[], str | int]) -> float:
    with suppress(OSError, ValueError, AttributeError):
        return float(say())
    return math.inf


def _size(number: float) -> str:
    """Write bytes as people do.

    >>> _size(3 * 2**30), _size(1e15)
    ('3.0 GiB', '931,322.6 GiB')
    """
    return f"{number / 2**30:,.1f} GiB"
