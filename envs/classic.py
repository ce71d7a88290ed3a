"""Gymnasium's classic control, single with numbers that drift, and as a batch that equals it copy for copy."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.utils import verify_number_and_cast
from numpy.typing import NDArray

from lopgym.envs.snapshot import Snapshot
from lopgym.envs.world import BatchedWorld, Mask
from lopgym.physics import Parametric, Value

_AHEAD = 128  # starts drawn at a time


class Classic(Parametric, gym.Env[Any, Any]):
    """Left of a class of Gymnasium's among the bases of another, lets its numbers drift, those of its start too."""

    start_options: ClassVar[dict[str, str]] = {"low": "start_low", "high": "start_high"}
    """By option of `reset`, the attribute that is its default."""

    def __init__(self, render_mode: str | None = None, **options: Any) -> None:
        """Start as Gymnasium's."""
        super().__init__(render_mode=render_mode, **options)  # type: ignore[call-arg]  # Gymnasium's class comes next
        self.physics = self.physics_type()
        self._write_physics()
        self._starts = attrgetter(*self.start_options.values())
        self._usual_start = self._starts(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs to go on; it opens a window of its own."""
        state: dict[str, Any] = super().__getstate__()
        return state | {"screen": None, "clock": None, "surf": None}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; `options` are Gymnasium's, and win over the parameters of the start."""
        start = self._starts(self)
        if start != self._usual_start:
            options = dict(zip(self.start_options, start, strict=True)) | (options or {})
        return super().reset(seed=seed, options=options)

    def _checked(self, name: str, value: Value) -> Value:
        """Keep Python's numbers: NumPy's would turn Gymnasium's single precision into double."""
        return super()._checked(name, float(value))


class BatchedClassic(BatchedWorld):
    """N copies of an environment of Gymnasium's, each with Gymnasium's own generator, and drawn by Gymnasium.

    A copy equals Gymnasium's environment bit for bit wherever NumPy computes sine, cosine and power of an array of
    doubles as the C library does (NumPy 2 on x86-64 does); elsewhere a step can differ in the last bit.

    Starts are drawn several at a time: the same numbers, much faster. What is drawn but not used goes back into the
    generators before they are asked for anything else.
    """

    kept: ClassVar[tuple[str, ...]] = ("_state", "_fresh")
    single_type: ClassVar[type[Classic]]
    state_size: ClassVar[int]
    start_size: ClassVar[int]
    """How many numbers the generator gives for a start."""

    def __init__(self, num_envs: int = 1, render_mode: str | None = None, **options: Any) -> None:
        """Set up N copies; `options` are those of the single environment."""
        self._painter: Any = self.single_type(render_mode="rgb_array", **options)
        super().__init__(num_envs, render_mode, self._painter.observation_space, self._painter.action_space)
        self._generators = [np.random.default_rng() for _ in range(num_envs)]
        self._state = np.zeros((self.state_size, num_envs))
        self._fresh = np.ones(num_envs, dtype=np.bool_)  # copies that have taken no step in their episode yet
        self._start: dict[str, float] = {}
        self._ahead = np.zeros((num_envs * _AHEAD, self.state_size))  # starts of the first copy, of the second ...
        self._behind = _AHEAD * np.arange(1, num_envs + 1)  # the row after the last one of each copy
        self._left = np.zeros(num_envs, dtype=np.int64)  # how many starts of each copy are still to be used
        self._bounds: list[Any] = [None, None]  # between which they were drawn
        self._bounds_of: tuple[Any, ...] = (None, None)  # the physics and the options that they are from

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin episodes; `options` may have Gymnasium's bounds of the start, for all copies.

        Raises:
            ValueError: a bound is no number, or the lower one is above the upper one.
        """
        names, given = self.single_type.start_options, options or {}
        self._start = {name: verify_number_and_cast(given[name]) for name in names if name in given}
        return super().reset(seed=seed, options=options)

    def snapshot(self) -> Snapshot:
        """Return what steps and resets have made of the copies; what was drawn ahead goes back first."""
        self._give_back()
        return super().snapshot() | {"generators": [one.bit_generator.state for one in self._generators]}

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot, of a world in which the same physics is in force."""
        state = self._state
        super().restore(snapshot)
        for generator, drawn in zip(self._generators, snapshot["generators"], strict=True):
            generator.bit_generator.state = drawn
        state[:] = self._state  # in place: others may move that very array
        self._state = state
        self._left[:], self._bounds_of = 0, (None, None)

    def _count(self, which: NDArray[Any]) -> None:
        """Count nothing: all luck comes from the generators."""

    def _seed(self, mask: Mask, seeds: list[int | None]) -> None:
        super()._seed(mask, seeds)
        for copy in mask.nonzero()[0]:
            if (seed := seeds[copy]) is not None:
                self._generators[copy] = gym.utils.seeding.np_random(seed)[0]
                self._left[copy] = 0

    def _begin(self, mask: Mask) -> None:
        if self.physics is not self._bounds_of[0] or self._start != self._bounds_of[1]:
            self._take_bounds()
        copies = mask.nonzero()[0]
        left = self._left[copies]
        if np.count_nonzero(left) < left.size:
            left = self._draw_ahead(copies)
        self._state[:, copies] = self._ahead.take(self._behind[copies] - left, axis=0).T
        self._left[copies] = left - 1
        self._fresh[copies] = True

    def _draw_ahead(self, copies: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw starts for those of the copies that have none; return how many each of the copies has now."""
        first, second = self._ends
        for copy in copies[self._left[copies] == 0].tolist():
            starts = self._draw(self._generators[copy], first[copy], second[copy])
            self._ahead[self._behind[copy] - _AHEAD : self._behind[copy]] = starts
            self._left[copy] = _AHEAD
        return self._left[copies]

    def _take_bounds(self) -> None:
        """Note between which numbers, one for all or shape (N,), episodes now start."""
        options = self.single_type.start_options.items()
        bounds = [self._start.get(option, getattr(self, name)) for option, name in options]
        if not all(map(_surely_equal, bounds, self._bounds)):
            self._draw_between(bounds)
        self._bounds_of = self.physics, self._start

    def _draw_between(self, bounds: list[Any]) -> None:
        if "low" in self.single_type.start_options and np.any(np.greater(*bounds)):
            raise ValueError(f"the start has low={bounds[0]} above high={bounds[1]}")
        if not all(np.array_equal(one, other) for one, other in zip(bounds, self._bounds, strict=True)):
            self._give_back()
        self._bounds, self._ends = bounds, [np.broadcast_to(bound, self.num_envs) for bound in bounds]

    def _give_back(self) -> None:
        """Turn the generators back to where the starts that were used have left them."""
        for copy in self._left.nonzero()[0]:
            bits: Any = self._generators[copy].bit_generator
            bits.advance(-int(self._left[copy]) * self.start_size)
        self._left[:] = 0

    def _draw(self, generator: np.random.Generator, first: float, second: float) -> Any:
        """Return states, shape (_AHEAD, S), in which a copy begins, one after the other, drawn as Gymnasium does."""
        return generator.uniform(first, second, size=(_AHEAD, self.start_size))

    def _observe(self) -> NDArray[np.float32]:
        return self._state.T.astype(np.float32)

    def _forces(self, actions: NDArray[Any]) -> NDArray[np.float32]:
        """Return continuous actions of shape (N, 1) as shape (N,).

        Raises:
            ValueError: they have another shape.
        """
        forces = np.asarray(actions, dtype=np.float32)
        if forces.shape != (self.num_envs, 1):
            raise ValueError(f"actions have shape {forces.shape}, allowed is {(self.num_envs, 1)}")
        return forces[:, 0]

    def _paint(self, copy: int) -> Any:
        """Let Gymnasium draw the copy."""
        of_copy = {name: np.broadcast_to(getattr(self.physics, name), self.num_envs) for name in self.physics.names()}
        self._painter.set_physics(**{name: values[copy] for name, values in of_copy.items()})
        self._painter.state = self._state[:, copy]
        return self._painter.render()


def _surely_equal(one: Any, other: Any) -> bool:
    """Return whether two values of a parameter are equal, if that costs nothing."""
    return one is other or (isinstance(one, float) and isinstance(other, float) and one == other)
