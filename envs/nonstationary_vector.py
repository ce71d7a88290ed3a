"""The drift layer of a batch: one clock for all copies, and whatever has to know when a copy begins anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from lopgym.envs.drift_checks import check_known_values
from lopgym.envs.drift_clock import DriftClock, Drifts, realised
from lopgym.envs.layers import owners
from lopgym.envs.nonstationary import Apply, check_apply, clock_target, on_life, taken
from lopgym.envs.own_clocks import Clocks, OwnClocks
from lopgym.envs.snapshot import Snapshot, check_snapshot
from lopgym.envs.triggered import Trigger
from lopgym.envs.vector_actions import check_actions
from lopgym.envs.vector_info import Info, masked, merged, read_only
from lopgym.envs.world import Mask, Step, reset_mask
from lopgym.registry import nearest


class NonStationaryVector(gym.vector.VectorWrapper[Any, Any, Any, Any, Any]):
    """Drive parameters of a batch by schedules of its total environment steps: `NonStationary` for N copies.

    The clock advances by N a call, whatever the autoreset mode. This is the outermost layer and it owns autoreset and
    the time limit, because the last observation of an episode is of the old world and the first of the next one is of
    the new; the layers below step all copies and reset those in `options["reset_mask"]` (autoreset mode DISABLED).

    Infos are as Gymnasium's vector environments give them: arrays (N,) with bool masks under `_key`; `final_obs`
    (N, *observation) and `final_info` under SAME_STEP. Arrays of infos may be shared between calls and are read-only.

    Each copy counts its own episodes, and the steps in them, so copies are equal to separate ones on these clocks, too.
    The trigger is one for all: it hears of the episodes of every copy, as they end, and moves all copies on.

    Attributes:
        clock, own_clocks: as those of `NonStationary`.
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
        clocks: Clocks | None = None,
        trigger: Trigger | Mapping[str, Any] | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
    ) -> None:
        """Bind every drift to the layer of `env` that owns the parameter, and set the values of step 0.

        Args:
            env: a batch with autoreset mode DISABLED.
            drifts: by parameter, a schedule, the plain data of one, or a number.
            apply: when a change takes effect, as for `NonStationary`; with `reset`, copies may be in different tasks.
            world_seed: fixes the realisation of random schedules.
            clocks: by parameter, the clock that its schedule follows if not the life: `episode`, `step`, `trigger`.
            trigger: when the clock `trigger` moves on, or the plain data of it.
            autoreset_mode: Gymnasium's, or its name (`SameStep`).
            max_episode_steps: truncate episodes of this length; None for no limit.

        Raises:
            ValueError: `env` resets by itself, nobody or two layers own a parameter, a value that a schedule names is
                out of bounds, the time limit too, or clocks and trigger do not fit.
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
        self._owners = owners(env, drifts)
        clocks = dict(clocks or {})
        self.own_clocks = OwnClocks(drifts, clocks, trigger, world_seed, env.num_envs)
        check_known_values(self._owners, realised(drifts, world_seed), clocks)
        self.clock = DriftClock(on_life(drifts, clocks), world_seed)
        self._counting, self._within = bool(self.own_clocks), "step" in self.own_clocks
        # Asked at every step, and what a wrapper has from below goes through all layers.
        self._choices, self._copies = env.action_space, env.num_envs
        self._pace = env.num_envs  # what the next step adds to the clock
        self._everyone = read_only(np.ones(self.num_envs, dtype=np.bool_))
        self._ended = ~self._everyone
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
        check_actions(actions, self._choices)
        if self._pending and self.apply != "reset":
            self._enforce(self._everyone)
        if self._within:
            self._put(self._everyone, self.own_clocks.values("step"))
        observation, reward, terminated, truncated, info = self.env.step(actions)
        self._report(info)
        self._advance(reward)
        self._cut(terminated, truncated)
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
        options, episode = taken(options, "episode", "episodes") if "episode" in self.own_clocks else (options, None)
        mask = reset_mask(options, self.num_envs)
        if target is not None:
            if not mask.all():
                raise ValueError("all copies share one clock: reset them all, or leave out seed and options['clock']")
            self.clock.seek(target)
            self.own_clocks.seek(target, new_life=seed is not None)
            self._pending = self._old[:] = True
        self.own_clocks.begin(mask, self.clock.t, episode)
        observation, info = self._restart(mask, self._last, seed=seed, options=options)
        self._last = observation.copy()
        return observation, info

    def freeze(self, frozen: bool = True) -> None:
        """Let time stand still, or go on from where it stood: no clock moves but that of the steps in an episode."""
        self.own_clocks.freeze(frozen)
        self._pace = 0 if frozen else self._copies

    def snapshot(self) -> Snapshot:
        """Return the state of this layer, not of what it wraps, as plain data that JSON keeps."""
        drift = {name: values.tolist() for name, values in self._drift.items()}
        return {
            "clock": self.clock.t,
            "own_clocks": self.own_clocks.snapshot(),
            "in_force": {"drift": drift, "task": self._task.tolist(), "pending": self._old.tolist()},
            "ended": self._ended.tolist(),
            "seen": None if self._last is None else self._last.tolist(),
        }

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot of this layer, or of one that was made alike, exactly.

        Raises:
            ValueError: it is of a layer with other drifts, clocks or copies.
        """
        check_snapshot(snapshot, self.snapshot())
        self.clock.seek(snapshot["clock"])
        self.own_clocks.restore(snapshot["own_clocks"])
        self._pace = 0 if self.own_clocks.frozen else self._copies
        force, seen = snapshot["in_force"], snapshot["seen"]
        self._put(self._everyone, force["drift"])
        self._task, self._old = read_only(np.array(force["task"])), np.array(force["pending"])
        self._pending, self._ended = bool(self._old.any()), np.array(snapshot["ended"])
        self._last = None if seen is None else np.array(seen, dtype=self.observation_space.dtype)

    def _check_begun(self) -> None:
        if self._last is None:
            raise gym.error.ResetNeeded("reset the batch before its first step")
        if self._by_hand and self._ended.any():
            raise gym.error.ResetNeeded(f"copies {self._ended.nonzero()[0].tolist()} have ended: reset them first")

    def _restart(
        self, mask: Mask, seen: NDArray[Any] | None, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], Info]:
        """Begin episodes of the masked copies in the world as it now is; the others still see what they have `seen`."""
        if self._pending or self._counting:
            self._enforce(mask if self.apply == "reset" else self._everyone)
        first, info = self.env.reset(seed=seed, options={**(options or {}), "reset_mask": mask})
        self._ended[mask] = False
        if seen is not None and not mask.all():
            first[~mask] = seen[~mask]
        self._report(info, mask)
        return first, info

    def _advance(self, reward: NDArray[Any]) -> None:
        moved = self.clock.advance(self._pace)
        if self.own_clocks.stepped(reward, self.clock.t) or moved:
            self._pending = self._old[:] = True

    def _cut(self, terminated: Mask, truncated: Mask) -> None:
        """Mark, in place, the episodes that end here by the time limit or by a change of task."""
        if self.max_episode_steps is not None:
            truncated |= self.own_clocks.elapsed >= self.max_episode_steps
        self._cut_at_change(truncated)
        if self.own_clocks.watch is not None:
            ends = terminated | truncated
            if self.own_clocks.ended(ends & ~self._ended, self.clock.t):  # without those that wait for their reset
                self._pending = self._old[:] = True
                self._cut_at_change(truncated, ~ends)

    def _cut_at_change(self, truncated: Mask, running: Mask | bool = True) -> None:
        if self.apply == "truncate" and self._pending:
            truncated |= running & (self._task != self._task_now())

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
        final = {"final_obs": observation, "final_info": masked(info, ended)}
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
        self.own_clocks.begin(mask, self.clock.t)
        first, news = self._restart(mask, observation)
        for key in ("task", "clock"):
            info[key] = merged(mask, news[key], info[key])
        for name, value in news["drift"].items():
            if not name.startswith("_"):
                info["drift"][name] = merged(mask, value, info["drift"][name])
        return first

    def _enforce(self, mask: Mask) -> None:
        """Put everything that holds now into force in the masked copies."""
        self._put(mask, self.clock.values | (self.own_clocks.values() if self._counting else {}))
        self._task = read_only(np.where(mask, self._task_now(), self._task))
        self._old[mask] = False
        self._pending = bool(self._old.any())

    def _put(self, mask: Mask, wanted: Mapping[str, Any]) -> None:
        """Give parameters a value, or one a copy, in the masked copies."""
        for name, value in wanted.items():
            values: NDArray[np.float64] = np.where(mask, value, self._drift[name])
            if not np.array_equal(values, self._drift[name]):
                uniform = bool((values == values[0]).all())
                self._owners[name].set_physics(**{name: float(values[0]) if uniform else values})
                self._drift[name] = read_only(values)

    def _task_now(self) -> Any:
        """Return the number of the task that the clocks have come to, one for all copies or one a copy."""
        return self.clock.task + self.own_clocks.tasks() if self._counting else self.clock.task

    def _report(self, info: Info, mask: Mask | None = None) -> None:
        """Tell what is in force, in the masked copies."""
        on = self._everyone if mask is None else read_only(mask.copy())
        info["task"], info["_task"] = self._task, on
        info["drift"] = self._drift | {f"_{name}": on for name in self._drift}
        info["clock"], info["_clock"] = np.full(self._copies, self.clock.t), on
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
