"""One door from Gymnasium's vector environments to Stable-Baselines3."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from lopgym.agents.worker_copies import PATIENCE, answering

Array = NDArray[Any]
_FINAL = {"final_obs", "final_info"}  # what a vector environment says of an episode that is over


def deal(info: Mapping[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """Deal a vector environment's info out to its N copies; `_key` arrays (N,) say which copies have `key`.

    All copies at once, by way of lists: one by one costs more than stepping them.

    >>> deal({"task": np.array([3, 4]), "_task": np.array([True, False])}, 2)
    [{'task': 3}, {}]
    """
    infos: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for key, values in info.items():
        if key.startswith("_"):
            continue
        own = deal(values, num_envs) if isinstance(values, dict) else _listed(values)
        mask = info.get(f"_{key}")
        has = [True] * num_envs if mask is None else mask.tolist()
        for i in range(num_envs):
            if has[i]:
                infos[i][key] = own[i]
    return infos


def _listed(values: Any) -> Any:
    """Return numbers as Python's, anything else as it is: one entry a copy."""
    return values.tolist() if isinstance(values, np.ndarray) and values.ndim == 1 else values


class GymVecEnv(VecEnv):
    """A Gymnasium `VectorEnv` as a Stable-Baselines3 `VecEnv`, with the episode statistics that `Monitor` would add.

    Observations, rewards and infos are those of the vector environment: a finished copy's info is that of its last
    step, with `terminal_observation`, `TimeLimit.truncated` and `episode`; the info of its reset is in `reset_infos`.
    Copies that are processes (`AsyncVectorEnv`) answer in time, or `CopyFailed` says which one did not, and why.
    """

    def __init__(
        self, venv: gym.vector.VectorEnv[Any, Any, Any], seed: int | None = None, *, patience: float = PATIENCE
    ) -> None:
        """Wrap `venv`; the first reset is seeded with `seed`. A copy that is a process has `patience` s for an answer.

        Raises:
            ValueError: `venv` does not reset a finished copy in the same step.
        """
        mode = venv.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"Stable-Baselines3 needs autoreset_mode=SAME_STEP, not {mode}: it takes the observation after a done "
                "for the first of a new episode, and under NEXT_STEP the action that follows would be ignored"
            )
        self.venv = venv
        self._workers, self._patience = answering(venv, patience), patience
        super().__init__(venv.num_envs, venv.single_observation_space, venv.single_action_space)
        self._seeds[0] = seed
        self._actions: Array = np.zeros(0)
        self._started = time.time()
        self._clear_statistics()

    def reset(self) -> Array:
        """Reset every copy; a seed given beforehand is used once."""
        observations, info = self.venv.reset(seed=self._seeds[0], options=self._options[0] or None)
        self._reset_seeds()
        self._reset_options()
        self._clear_statistics()
        self.reset_infos = deal(info, self.num_envs)
        return np.array(observations)

    def step_async(self, actions: Array) -> None:
        """Keep the actions until `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Array, Array, Array, list[dict[str, Any]]]:
        """Step every copy."""
        observations, rewards, terminated, truncated, info = self.venv.step(self._actions)
        done = np.asarray(terminated | truncated)
        self._returns += rewards
        self._lengths += 1
        infos = deal({key: value for key, value in info.items() if key not in _FINAL}, self.num_envs)
        if done.any():
            self._finish(infos, done, done & ~terminated, info)
        return np.array(observations), np.asarray(rewards, np.float32), done, infos

    def close(self) -> None:
        """Close the vector environment; copies that are processes are gone afterwards, whatever state they were in."""
        if self._workers is not None:
            self._workers.end(self._patience)
        self.venv.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the vector environment, once for each copy asked for."""
        return [getattr(self.venv, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: the copies share one vector environment."""
        raise AttributeError(f"cannot set {attr_name!r} on a copy of {self.venv}: all copies are one object")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of the vector environment, once."""
        return [getattr(self.venv, method_name)(*args, **kwargs)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Say yes to `Monitor` alone: its statistics are in the infos. Other wrappers stand around the whole batch."""
        return [wrapper_class is Monitor] * len(list(self._get_indices(indices)))

    def get_images(self) -> Sequence[Array | None]:
        """Return one frame a copy, for the vector environments that render."""
        frames: Iterable[Array] | None = self.venv.render()  # type: ignore[assignment]
        return [None] * self.num_envs if frames is None else list(frames)

    def state_dict(self) -> dict[str, Any]:
        """Return where the world and the statistics of its episodes stand, as plain data and arrays; no measured time.

        Raises:
            ValueError: the vector environment cannot say it.
        """
        return {
            "world": self._stateful().state_dict(),
            "returns": self._returns.copy(),
            "lengths": self._lengths.copy(),
            "reset_infos": [_kept(info) for info in self.reset_infos],
            "seeds": [None if seed is None else int(seed) for seed in self._seeds],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Bring the world, and the statistics, to where those of one that was made alike stood.

        Raises:
            ValueError: the state is of another world, or the vector environment cannot be brought to one.
        """
        if len(state["returns"]) != self.num_envs:
            raise ValueError(f"the state is of {len(state['returns'])} copies of the world; here {self.num_envs}")
        self._stateful().load_state_dict(state["world"])
        self._returns, self._lengths = np.array(state["returns"]), np.array(state["lengths"])
        self.reset_infos, self._seeds = [_told(info) for info in state["reset_infos"]], list(state["seeds"])

    def _stateful(self) -> Any:
        """Return the vector environment, if it can say its state: in a wrapper that cannot, a part would be lost."""
        if not hasattr(type(self.venv), "state_dict"):
            raise ValueError(
                f"{type(self.venv).__name__} cannot say its state, so no run in it can be resumed: native batches can, "
                "and separate copies of one process with their journals (lopgym.envs.journal.Journals)"
            )
        return self.venv

    def _clear_statistics(self) -> None:
        self._returns, self._lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, dtype=np.int64)

    def _finish(self, infos: list[dict[str, Any]], done: Array, cut: Array, info: Mapping[str, Any]) -> None:
        """Put the last step of each finished copy into `infos`; what was there, of its reset, is in `reset_infos`."""
        last, elapsed = deal(info["final_info"], self.num_envs), round(time.time() - self._started, 6)
        for i in done.nonzero()[0].tolist():
            self.reset_infos[i] = infos[i]
            infos[i] = last[i] | {
                "terminal_observation": np.array(info["final_obs"][i]),
                "TimeLimit.truncated": bool(cut[i]),
                "episode": {"r": float(self._returns[i]), "l": int(self._lengths[i]), "t": elapsed},
            }
        self._returns[done], self._lengths[done] = 0.0, 0


def _kept(told: Any) -> Any:
    """Return an info as plain data and arrays: NumPy's numbers as arrays of shape (), what is neither as None."""
    if isinstance(told, Mapping):
        return {str(key): _kept(value) for key, value in told.items()}
    if isinstance(told, list | tuple):
        return [_kept(value) for value in told]
    if isinstance(told, np.ndarray | np.generic):
        return None if told.dtype.hasobject else np.array(told)
    return told if told is None or isinstance(told, bool | int | float | str) else None


def _told(kept: Any) -> Any:
    """Return what an info said, from what was kept of it."""
    if isinstance(kept, Mapping):
        return {key: _told(value) for key, value in kept.items()}
    if isinstance(kept, list):
        return [_told(value) for value in kept]
    return np.array(kept)[()] if isinstance(kept, np.ndarray) else kept
