"""The journal of an environment: how its running episode began and what was done since, to live through it again."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from struct import pack
from typing import Any, SupportsFloat
from zlib import crc32

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from lopgym.envs.snapshot import Snapshot, StateError, Stateful, alike, check_keys, restore, snapshots

_KEYS = ("began", "actions", "trajectory", "now")


class Journal(Stateful, gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Keep what it takes to bring another copy of the wrapped environment, anybody's, to where this one is, exactly.

    That is the generator of its luck and the state of our layers as the running episode began, and the actions since.
    They are done again in the other copy, which takes as long as the episode took so far. A checksum of all that was
    seen and earned in it, and the state at its end, are compared afterwards: an environment that is not a function of
    these is refused, never restored to something else. It has to be the outermost layer, and nobody may reach past it.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Begin an empty journal."""
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self._began: Snapshot | None = None
        self._actions: list[Any] = []
        self._trajectory = 0
        self._goes_on = False

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, and write it down."""
        self._actions.append(action.copy() if isinstance(action, np.ndarray) else action)
        said = self.env.step(action)
        self._trajectory = crc32(pack("d??", *said[1:4]), _checksum(said[0], self._trajectory))
        return said

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, on a new page."""
        luck = _generator(self.env) if seed is None else None  # the seed makes another
        self._began = {"seed": seed, "options": deepcopy(options), "generator": luck, "layers": snapshots(self.env)}
        self._actions = []
        world = _box2d_world(self.env)
        said = self.env.reset(seed=seed, options=options)
        self._goes_on = self._goes_on or (world is not None and _box2d_world(self.env) is world)
        self._trajectory = _checksum(said[0], 0)
        return said

    def snapshot(self) -> Snapshot:
        """Return the journal, and where the environment is now, as far as it can be seen.

        Raises:
            StateError: actions are neither numbers nor arrays; or the environment goes on, over resets, in the world of
                its earlier episodes, and nothing could be restored from it.
        """
        self._hold_fresh()
        began = deepcopy(self._began)
        return {"began": began, "actions": self._page(), "trajectory": self._trajectory, "now": self._now()}

    def restore(self, snapshot: Snapshot) -> None:
        """Live through the episode of a snapshot.

        Raises:
            StateError: it went otherwise, or the journal is of an environment that was made otherwise.
        """
        check_keys(self, snapshot, _KEYS)
        began = snapshot["began"]
        self._be(snapshot["now"] if began is None else began)
        self._began, self._actions, self._trajectory = None, [], 0
        if began is None:
            return
        self.reset(seed=began["seed"], options=deepcopy(began["options"]))
        self._hold_fresh()
        for action in snapshot["actions"]:
            self.step(action)
        if self._trajectory != snapshot["trajectory"] or not alike(self._now(), dict(snapshot["now"])):
            raise StateError(
                f"{self.env} went another way when the {len(self._actions)} steps of its episode were done again: it "
                "is not deterministic, or remembers earlier episodes, so no run in it can be resumed"
            )

    def _hold_fresh(self) -> None:
        if self._goes_on:
            raise StateError(f"{self.env} goes on in the world of its earlier episodes: no run in it can be resumed")

    def _now(self) -> Snapshot:
        return {"generator": _generator(self.env), "layers": snapshots(self.env)}

    def _be(self, start: Mapping[str, Any]) -> None:
        restore(self.env, start["layers"])
        if start["generator"] is not None:
            self.env.unwrapped.np_random.bit_generator.state = start["generator"]

    def _page(self) -> NDArray[Any]:
        """Return the actions of the episode, shape (T, *A)."""
        page = np.array(self._actions)
        if page.dtype.hasobject:
            raise StateError(f"{self.env} cannot be resumed: its actions are neither numbers nor arrays")
        return page


class Journals(gym.vector.VectorWrapper):
    """Separate copies in this process, each with its journal: the state of a world that has no native batch."""

    env: SyncVectorEnv

    def __init__(self, env: SyncVectorEnv) -> None:
        """Give a journal to every copy.

        Raises:
            TypeError: the copies are not in this process.
            ValueError: a copy is not reset in the step in which it ends.
        """
        if not isinstance(env, SyncVectorEnv):
            raise TypeError(f"journals are for copies in a SyncVectorEnv, not for {env}")
        if env.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ValueError(f"journals need autoreset_mode=SAME_STEP, not {env.autoreset_mode}")
        super().__init__(env)
        self._journals = [Journal(copy) for copy in env.envs]
        env.envs = [*self._journals]

    def state_dict(self) -> dict[str, Any]:
        """Return the journals, as plain data and arrays."""
        return {"copies": [journal.snapshot() for journal in self._journals]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Bring every copy to where one that was made alike was.

        Raises:
            StateError: there are more or fewer copies, they were made otherwise, or are not deterministic.
        """
        check_keys(self, state, ("copies",))
        if len(state["copies"]) != self.num_envs:
            raise StateError(f"the state is of {len(state['copies'])} copies of the world; here {self.num_envs}")
        for journal, copy in zip(self._journals, state["copies"], strict=True):
            journal.restore(copy)


def resumable(env: gym.vector.VectorEnv[Any, Any, Any]) -> gym.vector.VectorEnv[Any, Any, Any]:
    """Return the vector environment with `state_dict` and `load_state_dict`: what has them as it is."""
    return Journals(env) if isinstance(env, SyncVectorEnv) else env


def goes_on(env: gym.Env[Any, Any]) -> bool:
    """Whether a reset leaves an environment in Box2D's world of before it; one that has such a world is reset."""
    world = _box2d_world(env)
    if world is None:
        return False
    env.reset(seed=0)
    return _box2d_world(env) is world


def _generator(env: gym.Env[Any, Any]) -> dict[str, Any] | None:
    """Return the state of the generator that Gymnasium's environments draw from, made now if it was not yet."""
    generator = getattr(env.unwrapped, "np_random", None)
    return dict(generator.bit_generator.state) if isinstance(generator, np.random.Generator) else None


def _box2d_world(env: gym.Env[Any, Any]) -> Any:
    """Return Box2D's world of an environment, None if it has none.

    One that outlives a reset keeps what no episode shows at once, such as the order of its contacts: the steps that are
    done again agree, and those to come may not.
    """
    world = getattr(env.unwrapped, "world", None)
    return world if type(world).__module__.startswith("Box2D") else None


def _checksum(seen: Any, before: int) -> int:
    """Return a checksum of an observation and all that came before it."""
    if isinstance(seen, np.ndarray) and not seen.dtype.hasobject:
        return crc32(seen.data if seen.flags.c_contiguous else seen.tobytes(), before)
    if isinstance(seen, Mapping | tuple | list):
        for part in seen.values() if isinstance(seen, Mapping) else seen:
            before = _checksum(part, before)
        return before
    return crc32(repr(seen).encode(), before)
