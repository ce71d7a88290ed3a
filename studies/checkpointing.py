"""Checkpointing: all that a run knows between two rollouts, kept now and then, and taken back when it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from lopgym.agents.agent_state import restore, state_of
from lopgym.agents.finite_guard import check_parameters
from lopgym.agents.luck import restore_luck, state_of_luck
from lopgym.agents.plain import live, plain
from lopgym.store import CheckpointError, Saved, save
from lopgym.studies.notices import notice
from lopgym.studies.termination import Stop

State = Mapping[str, Any]
_OF_SOMETHING_ELSE = (ValueError, LookupError, TypeError, AttributeError, RuntimeError, OverflowError)


class Part(Protocol):
    """What says all that it remembers between two rollouts, and takes it back."""

    def state_dict(self) -> State:
        """Return a copy, of plain data, arrays and tensors."""

    def load_state_dict(self, state: State, /) -> None:
        """Take back what `state_dict` returned."""


@dataclass(frozen=True)
class ByFunctions:
    """A part of a run whose state two functions say and take back."""

    say: Callable[[], State]
    take: Callable[[State], None]

    def state_dict(self) -> State:
        """Return the state."""
        return self.say()

    def load_state_dict(self, state: State, /) -> None:
        """Take it back."""
        self.take(state)


def parts_of(model: Any, others: Sequence[Any], last: Part) -> dict[str, Part]:
    """Return everything that a run has to remember, in the order in which it is taken back.

    Random streams come last but one: whatever else is taken back may have drawn numbers.

    Args:
        model: the agent, and by way of it its world.
        others: callbacks and sinks; those that say no state have none.
        last: what decides about luck.
    """
    world: Any = _worlds(model.get_env())
    return {
        "agent": ByFunctions(partial(state_of, model), partial(restore, model)),
        "world": world,
        **{type(part).__name__: part for part in others if hasattr(part, "state_dict")},
        "luck": ByFunctions(partial(state_of_luck, model), partial(restore_luck, model)),
        "rollbacks": last,
    }


def _worlds(env: VecEnv) -> VecEnv:
    """Return the batch of worlds under all wrappers."""
    return _worlds(env.venv) if isinstance(env, VecEnvWrapper) else env


class _AtTheEnd(BaseCallback):
    """Does something when training has ended."""

    def __init__(self, do: Callable[[], None]) -> None:
        super().__init__()
        self._do = do

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._do()


class Checkpointing(BaseCallback):
    """Keeps a checkpoint at the start of a rollout every so many env steps, and at the end.

    It comes last in a list of callbacks: at the start of a rollout no update is half done, and all others have acted. A
    run that goes on takes its parts back when its training starts; what others do at the start of a rollout was done
    before the checkpoint, and they know it. A checkpoint that cannot be written, or does not fit into memory, is told,
    and training goes on; the next is tried when it is due. The last one is kept by `at_the_end`.

    Args:
        root: folder of the checkpoints.
        parts: what is kept, in the order of taking back.
        views: what is kept, too, and taken back when files are as they were: views of these.
        files: how long each file of lines is that the run may have to be cut back to, in bytes.
        about: facts beside: versions, threads, device.
        stop: is looked at when a rollout starts.
        every: env steps between two checkpoints; 0: none.
        keep: how many there are at most.
        start: the one to go on from.
        taken_back: called when all parts are as they were there, to bring files to where they were.
    """

    def __init__(
        self,
        root: Path,
        parts: Mapping[str, Part],
        *,
        views: Mapping[str, Part] = MappingProxyType({}),
        files: Callable[[], Mapping[str, int]],
        about: Mapping[str, Any],
        stop: Stop,
        every: int,
        keep: int,
        start: Saved | None = None,
        taken_back: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep what it takes."""
        super().__init__()
        self._root, self._parts, self._views, self._files, self._about = root, parts, views, files, about
        self._stop, self._every, self._keep = stop, every, keep
        self._start, self._taken_back = start, taken_back
        self.failure: CheckpointError | MemoryError | None = None

    def _on_training_start(self) -> None:
        if self._start is not None:
            self._take_back(self._parts, self._start)
            self._taken_back()
            self._take_back(self._views, self._start)
        self._start, self._at = None, self._next()

    def _take_back(self, parts: Mapping[str, Part], saved: Saved) -> None:
        try:
            for name, part in parts.items():
                part.load_state_dict(live(saved.tree["parts"][name]))
        except _OF_SOMETHING_ELSE as error:  # the tree is whole
            raise CheckpointError(saved.path, f"is not of this run: {error}") from error

    def _on_rollout_start(self) -> None:
        asked = self._stop.asked is not None  # looked at once: what comes later waits until something is kept
        due = bool(self._every) and (asked or self.num_timesteps >= self._at)
        if due:
            self._save()
        if due or asked:
            self._stop.obey()

    def _on_step(self) -> bool:
        return True

    def at_the_end(self) -> BaseCallback:
        """Return what keeps the last checkpoint.

        In a list it comes first: at the end others write what they have so far, which a longer run would write later.
        """
        return _AtTheEnd(self._save if self._every else lambda: None)

    def _next(self) -> int:
        return (self.num_timesteps // max(self._every, 1) + 1) * self._every

    def _save(self) -> None:
        check_parameters(self.model)
        self._at = self._next()
        try:
            states = {name: plain(part.state_dict(), name) for name, part in {**self._parts, **self._views}.items()}
            tree = {"files": dict(self._files()), "parts": states}
            save(self._root, self.num_timesteps, tree, about=self._about, keep=self._keep)
            self.failure = None
        except (CheckpointError, MemoryError) as error:
            self.failure = error
            notice(f"warning: no checkpoint at step {self.num_timesteps}: {error}")
