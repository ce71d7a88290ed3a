"""Worlds of our own: written once, as a batch; the single environment is a batch of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lopgym.envs.painting import Image, enlarge
from lopgym.envs.snapshot import Kept, Snapshot, Stateful, WholeState
from lopgym.physics import Parametric, Physics, Value
from lopgym.seeding import CounterStream

Mask = NDArray[np.bool_]
METADATA: dict[str, Any] = {
    "render_modes": ["rgb_array"],
    "render_fps": 8,
    "autoreset_mode": gym.vector.AutoresetMode.DISABLED,
}
_BOOL = np.dtype(np.bool_)
_ONE = np.ones((), dtype=np.int64)  # NumPy adds it in half the time that it takes for Python's
Step = tuple[NDArray[Any], NDArray[np.float64], Mask, Mask, dict[str, Any]]


class BatchedWorld(Kept, WholeState, Parametric, gym.vector.VectorEnv[NDArray[Any], NDArray[Any], NDArray[Any]]):
    """N copies of one world. A subclass says how episodes begin, what is seen, and how a step goes.

    Randomness is a function of (seed of the copy, number of its steps and beginnings so far), so copy i of a batch
    seeded s is the lone copy seeded s + i, and there is no generator to save; what else its steps change, a subclass
    names in `kept`. Nothing is reset by itself: `NonStationaryVector`, the outermost layer, does that. The arrays
    returned are new at every call.

    Attributes:
        count: how many steps and beginnings each copy has seen since it was seeded, int64, shape (N,).
    """

    metadata = METADATA
    physics_type: ClassVar[type[Physics]] = Physics
    kept: ClassVar[tuple[str, ...]] = ("count",)

    def __init__(
        self, num_envs: int, render_mode: str | None, observation: gym.Space[Any], action: gym.Space[Any]
    ) -> None:
        """Set up N copies that see and act in these single spaces.

        Raises:
            ValueError: there is no copy, or no such render mode.
        """
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} must be at least 1")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode={render_mode!r} is not allowed; known: {self.metadata['render_modes']}")
        self.num_envs, self.render_mode = num_envs, render_mode
        self.single_observation_space, self.single_action_space = observation, action
        self.observation_space, self.action_space = batch_space(observation, num_envs), batch_space(action, num_envs)
        self.count = np.zeros(num_envs, dtype=np.int64)
        self._seeds: list[int] = []
        self.physics = self.physics_type()
        self._write_physics()

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin episodes, of all copies or of `options["reset_mask"]`, bool (N,); the observation is of all."""
        mask = reset_mask(options, self.num_envs)
        if not self._seeds:
            self._seed(mask, [_entropy() if one is None else one for one in copy_seeds(seed, self.num_envs)])
        elif seed is not None:
            self._seed(mask, copy_seeds(seed, self.num_envs))
        self._begin(mask)
        self._count(mask)
        return self._observe(), {}

    def step(self, actions: NDArray[Any]) -> Step:
        """Step every copy; `actions` has shape (N,)."""
        reward, terminated = self._advance(actions)
        self._count(_ONE)
        return self._observe(), reward, terminated, np.zeros(self.num_envs, dtype=np.bool_), {}

    def render(self) -> tuple[Image, ...] | None:
        """Return a picture of each copy, shape (H, W, 3), or None without a render mode."""
        if self.render_mode is None:
            return None
        return tuple(enlarge(self._paint(copy)) for copy in range(self.num_envs))

    def snapshot(self) -> Snapshot:
        """Return what steps and resets have made of the copies."""
        return super().snapshot() | {"seeds": list(self._seeds)}

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot, of a world in which the same physics is in force."""
        super().restore(snapshot)
        self._open(snapshot["seeds"])

    def integers(self, high: int, draw: int = 0) -> NDArray[np.int64]:
        """Return an integer in [0, high) a copy, shape (N,); `draw` tells several of one moment apart."""
        return self._stream.integers(high, self.count, draw)

    def _seed(self, mask: Mask, seeds: list[int | None]) -> None:
        """Start the masked copies that were given a seed anew."""
        old = self._seeds or seeds
        started = mask & np.array([seed is not None for seed in seeds])
        self._open([int((new if on else last) or 0) for on, new, last in zip(started, seeds, old, strict=True)])
        self.count[started] = 0

    def _open(self, seeds: Sequence[int]) -> None:
        """Draw from here on by these seeds, one a copy; none before the first reset."""
        self._seeds = list(seeds)
        if self._seeds:
            self._stream = CounterStream(self._seeds, type(self).__name__)

    def _count(self, which: NDArray[Any]) -> None:
        """Count a step or a beginning of the copies that `which`, shape () or (N,), says."""
        self.count += which

    def _begin(self, mask: Mask) -> None:
        """Start an episode in the masked copies."""
        raise NotImplementedError

    def _observe(self) -> NDArray[Any]:
        """Return what is seen now, shape (N, *observation); looking changes nothing."""
        raise NotImplementedError

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Mask]:
        """Take one step, harmless where an episode is over; return reward and termination, shape (N,) each."""
        raise NotImplementedError

    def _paint(self, copy: int) -> Image:
        """Return the true scene of one copy, one pixel a cell."""
        raise NotImplementedError


class World(Stateful, Parametric, gym.Env[Any, Any]):
    """A batch of one, as a single environment."""

    def __init__(self, batch: BatchedWorld) -> None:
        """Show the only copy of `batch`."""
        self.batch = batch
        self.metadata = {key: value for key, value in batch.metadata.items() if key != "autoreset_mode"}
        self.render_mode, self.physics = batch.render_mode, batch.physics
        self.observation_space, self.action_space = batch.single_observation_space, batch.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        observation, info = self.batch.reset(seed=seed, options=options)
        return observation[0], info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step.

        Raises:
            ValueError: the action is not in the action space.
        """
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} is not in {self.action_space}")
        observation, reward, terminated, truncated, info = self.batch.step(np.array([action]))
        told = {key: values.item() for key, values in info.items() if key[0] != "_"}
        return observation[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), told

    def snapshot(self) -> Snapshot:
        """Return that of the batch."""
        return self.batch.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot."""
        self.batch.restore(snapshot)

    def set_physics(self, **changes: Value) -> None:
        """Change the parameters of the batch."""
        self.batch.set_physics(**changes)
        self.physics = self.batch.physics

    def close(self) -> None:
        """Close the batch."""
        self.batch.close()

    def render(self) -> Any:
        """Return the picture of the only copy, shape (H, W, 3), or None without a render mode."""
        frames = self.batch.render()
        return frames and frames[0]


def reset_mask(options: dict[str, Any] | None, num_envs: int) -> Mask:
    """Return which copies `options["reset_mask"]` asks for, all without it, shape (N,).

    Raises:
        ValueError: it is no bool array of shape (N,), or asks for none.
    """
    mask = (options or {}).get("reset_mask")
    if mask is None:
        return np.ones(num_envs, dtype=np.bool_)
    shape = (num_envs,)
    if not isinstance(mask, np.ndarray) or mask.dtype != _BOOL or mask.shape != shape or not np.count_nonzero(mask):
        raise ValueError(f"options['reset_mask'] must be a bool array of shape ({num_envs},) with a True, not {mask!r}")
    return mask


def copy_seeds(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    """Return the seed of each copy: seed + i of one seed.

    Raises:
        ValueError: there are not N seeds, or one is negative.
    """
    if seed is None or isinstance(seed, int | np.integer):
        seeds = [None if seed is None else int(seed) + i for i in range(num_envs)]
    else:
        seeds = list(seed)
    if len(seeds) != num_envs or any(one is not None and one < 0 for one in seeds):
        raise ValueError(f"seed={seed!r} must be a whole number of at least 0, or {num_envs} of them")
    return seeds


def _entropy() -> int:
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0]) >> 1
