"""The drift layer of a batch: one clock for all copies, and whatever has to know when a copy begins anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from lopgym.envs.drift_clock import DriftClock, Drifts
from lopgym.envs.layers import owners
from lopgym.envs.nonstationary import Apply, check_apply, clock_target
from lopgym.envs.world import Mask, Step, reset_mask
from lopgym.registry import nearest

Info = dict[str, Any]


class NonStationaryVector(gym.vector.VectorWrapper[Any, Any, Any, Any, Any]):
    """Drive parameters of a batch by schedules of its total environment steps: `NonStationary` for N copies.

    The clock advances by N a call, whatever the autoreset mode. This is the outermost layer and it owns autoreset and
    the time limit, because the last observation of an episode is of the old world and the first of the next one is of
    the new; the layers below step all copies and reset those in `options["reset_mask"]` (autoreset mode DISABLED).

    Infos are as Gymnasium's vector environments give them: arrays (N,) with bool masks under `_key`; `final_obs`
    (N, *observation) and `final_info` under SAME_STEP. Arrays of infos may be shared between calls and are read-only.
    """

    _AFTER_STEP: ClassVar[dict[AutoresetMode, str]] = {
        AutoresetMode.NEXT_STEP: "_reset_the_ended_before",
        AutoresetMode.SAME_STEP: "_reset_the_ended_now",
        AutoresetMode.DISABLED: "_reset_none",
    }

    def __init__(
        self,
        env: gym.vector.VectorEnv[Any, Any, Any],
        *,
        drifts: Drifts,
        apply: Apply = "step",
        world_seed: int = 0,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
    ) -> None:
        """Bind every drift to the layer of `env` that owns the parameter, and set the values of step 0.

        Args:
            env: a batch with autoreset mode DISABLED.
            drifts: by parameter, a schedule, the plain data of one, or a number.
            apply: when a change takes effect, as for `NonStationary`; with `reset`, copies may be in different tasks.
            world_seed: fixes the realisation of random schedules.
            autoreset_mode: Gymnasium's, or its name (`SameStep`).
            max_episode_steps: truncate episodes of this length; None for no limit.

        Raises:
            ValueError: `env` resets by itself, nobody or two layers own a parameter, or a value is out of bounds, the
                time limit too.
        """
        check_apply(apply)
        if env.metadata.get("autoreset_mode") is not AutoresetMode.DISABLED:
            raise ValueError(f"{env} resets by itself; NonStationaryVector needs autoreset mode Disabled below it")
        if max_episode_steps is not None and max_episode_steps < 1:
            raise ValueError(f"max_episode_steps={max_episode_steps} must be at least 1, or None for no limit")
        super().__init__(env)
        self.metadata = {**env.metadata, "autoreset_mode": as_autoreset_mode(autoreset_mode)}
        mode = self.metadata["autoreset_mode"]
        self._after_step: Callable[..., Any] = getattr(type(self), self._AFTER_STEP[mode])
        self._by_hand = mode is AutoresetMode.DISABLED
        self.drifting, self.apply, self.max_episode_steps = tuple(drifts), apply, max_episode_steps
        self.clock = DriftClock(drifts, world_seed)
        self._owners = owners(env, drifts)
        self._choices = env.action_space
        self._stride = env.num_envs  # asked at every step, and a wrapper's `num_envs` goes through all layers
        self._everyone = _read_only(np.ones(self.num_envs, dtype=np.bool_))
        self._elapsed, self._ended = np.zeros(self.num_envs, dtype=np.int64), ~self._everyone
        self._last: NDArray[Any] | None = None  # what each copy saw last
        self._task = np.zeros(self.num_envs, dtype=np.int64)
        self._drift = {name: np.full(self.num_envs, np.nan) for name in drifts}
        self._old = self._everyone.copy()  # copies in which the values of the clock are not in force yet
        self._pending = True  # whether there are any
        self._enforce(self._everyone)

    def step(self, actions: NDArray[Any]) -> Step:
        """Step every copy in the world of this step, advance the clock by N, then reset as the autoreset mode says.

        Raises:
            gymnasium.error.ResetNeeded: nothing was reset yet or, without autoreset, a copy has ended.
            ValueError: the actions are not in the action space.
        """
        self._check_begun()
        self._check_actions(actions)
        if self._pending and self.apply != "reset":
            self._enforce(self._everyone)
        observation, reward, terminated, truncated, info = self.env.step(actions)
        self._report(info)
        self._advance()
        self._cut(truncated)
        observation = self._after_step(self, observation, reward, terminated, truncated, info)
        self._last = observation.copy()
        return observation, reward, terminated, truncated, info

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[NDArray[Any], Info]:
        """Begin episodes; `seed` and `options["clock"]` move the clock first, `options["reset_mask"]` leaves some out.

        Args:
            seed: seed + i for copy i, or a list of N seeds, or None to go on.
            options: ours, and what the layers below take.

        Raises:
            ValueError: the clock or the mask is wrong, or the one clock of all copies is to be moved for some of them.
        """
        options, target = clock_target(seed, options)
        mask = reset_mask(options, self.num_envs)
        if target is not None:
            if not mask.all():
                raise ValueError("all copies share one clock: reset them all, or leave out seed and options['clock']")
            self.clock.seek(target)
            self._pending = self._old[:] = True
        observation, info = self._restart(mask, self._last, seed=seed, options=options)
        self._last = observation.copy()
        return observation, info

    def _check_begun(self) -> None:
        if self._last is None:
            raise gym.error.ResetNeeded("reset the batch before its first step")
        if self._by_hand and self._ended.any():
            raise gym.error.ResetNeeded(f"copies {self._ended.nonzero()[0].tolist()} have ended: reset them first")

    def _check_actions(self, actions: Any) -> None:
        """Refuse what NumPy would take for other actions; `contains` of the space is twice as slow."""
        given, space = np.asarray(actions), self._choices
        if not isinstance(space, gym.spaces.MultiDiscrete):
            return
        if given.shape == space.shape and given.dtype.kind in "iu":
            places = given - space.start
            if ((places >= 0) & (places < space.nvec)).all():
                return
        raise ValueError(f"actions {actions!r} are not in {space}")

    def _restart(
        self, mask: Mask, seen: NDArray[Any] | None, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], Info]:
        """Begin episodes of the masked copies in the world as it now is; the others still see what they have `seen`."""
        if self._pending:
            self._enforce(mask if self.apply == "reset" else self._everyone)
        first, info = self.env.reset(seed=seed, options={**(options or {}), "reset_mask": mask})
        self._elapsed[mask] = 0
        self._ended[mask] = False
        if seen is not None and not mask.all():
            first[~mask] = seen[~mask]
        self._report(info, mask)
        return first, info

    def _advance(self) -> None:
        self._elapsed += 1
        if self.clock.advance(self._stride):
            self._pending = self._old[:] = True

    def _cut(self, truncated: Mask) -> None:
        """Mark, in place, the episodes that end here by the time limit or by a change of task."""
        if self.max_episode_steps is not None:
            truncated |= self._elapsed >= self.max_episode_steps
        if self.apply == "truncate" and self._pending:
            truncated |= self._task != self.clock.task

    def _reset_the_ended_before(
        self, observation: NDArray[Any], reward: NDArray[Any], terminated: Mask, truncated: Mask, info: Info
    ) -> NDArray[Any]:
        again = self._ended
        if again.any():
            again = again.copy()
            reward[again], terminated[again], truncated[again] = 0.0, False, False
            observation = self._begin_anew(again, observation, info)
        self._ended = terminated | truncated
        return observation

    def _reset_the_ended_now(
        self, observation: NDArray[Any], reward: NDArray[Any], terminated: Mask, truncated: Mask, info: Info
    ) -> NDArray[Any]:
        ended = terminated | truncated
        if not ended.any():
            return observation
        final = {"final_obs": observation, "final_info": _masked(info, ended)}
        observation = self._begin_anew(ended, observation, info)
        info |= final | {"_final_obs": ended, "_final_info": ended}
        return observation

    def _reset_none(
        self, observation: NDArray[Any], reward: NDArray[Any], terminated: Mask, truncated: Mask, info: Info
    ) -> NDArray[Any]:
        self._ended = terminated | truncated
        return observation

    def _begin_anew(self, mask: Mask, observation: NDArray[Any], info: Info) -> NDArray[Any]:
        """Reset the masked copies and put what is true of them into `info`; return what all copies see."""
        first, news = self._restart(mask, observation)
        for key in ("task", "clock"):
            info[key] = _merged(mask, news[key], info[key])
        for name, value in news["drift"].items():
            if not name.startswith("_"):
                info["drift"][name] = _merged(mask, value, info["drift"][name])
        return first

    def _enforce(self, mask: Mask) -> None:
        """Put the values of the clock into force in the masked copies."""
        for name, value in self.clock.values.items():
            values: NDArray[np.float64] = np.where(mask, value, self._drift[name])
            if not np.array_equal(values, self._drift[name]):
                uniform = bool((values == values[0]).all())
                self._owners[name].set_physics(**{name: float(values[0]) if uniform else values})
                self._drift[name] = _read_only(values)
        task = self._task.copy()
        task[mask] = self.clock.task
        self._task = _read_only(task)
        self._old[mask] = False
        self._pending = bool(self._old.any())

    def _report(self, info: Info, mask: Mask | None = None) -> None:
        """Tell what is in force, in the masked copies."""
        on = self._everyone if mask is None else _read_only(mask.copy())
        info["task"], info["_task"] = self._task, on
        info["drift"] = self._drift | {f"_{name}": on for name in self._drift}
        info["clock"], info["_clock"] = np.full(self._stride, self.clock.t), on
        info["_drift"] = on


def as_autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    """Return the mode of that name.

    Raises:
        ValueError: there is none.
    """
    modes = {known.value: known for known in AutoresetMode}
    name = mode.value if isinstance(mode, AutoresetMode) else mode
    if name not in modes:
        raise ValueError(f"autoreset_mode={mode!r} is not allowed; {nearest(str(mode), modes)}")
    return modes[name]


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _merged(mask: Mask, new: NDArray[Any], old: NDArray[Any]) -> NDArray[Any]:
    """Return the new values in the masked copies, the old ones elsewhere."""
    if new is old:
        return old
    merged: NDArray[Any] = np.where(mask, new, old)
    return _read_only(merged)


def _masked(info: Info, mask: Mask) -> Info:
    """Return the info with `mask` in place of its masks, so that it speaks of those copies only."""
    told = {key: _masked(value, mask) if isinstance(value, dict) else value for key, value in info.items()}
    return {key: mask if key.startswith("_") else value for key, value in told.items()}
