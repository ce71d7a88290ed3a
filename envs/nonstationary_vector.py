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
from lopgym.envs.in_force import InForce
from lopgym.envs.layers import owners
from lopgym.envs.nonstationary import Apply, check_apply, clock_target, on_life, taken
from lopgym.envs.options import as_world_seed, check_mappings
from lopgym.envs.own_clocks import Clocks, OwnClocks
from lopgym.envs.snapshot import Snapshot, Stateful, WholeState, check_snapshot
from lopgym.envs.triggered import Trigger
from lopgym.envs.vector_actions import ActionCheck
from lopgym.envs.vector_info import Info, forget, masked
from lopgym.envs.world import BatchedWorld, Mask, Step, reset_mask
from lopgym.registry import nearest


class NonStationaryVector(WholeState, Stateful, gym.vector.VectorWrapper):
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
        check_mappings(drifts=drifts, clocks=clocks)
        world_seed = as_world_seed(world_seed)
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
        clocks = dict(clocks or {})
        self.own_clocks = OwnClocks(drifts, clocks, trigger, world_seed, env.num_envs)
        self._force = InForce(owners(env, drifts), env.num_envs)
        check_known_values(self._force.owners, realised(drifts, world_seed), clocks)
        self.clock = DriftClock(on_life(drifts, clocks), world_seed)
        self._counting, self._within = bool(self.own_clocks), "step" in self.own_clocks
        self._check_actions = ActionCheck(env.action_space)
        self._pace = env.num_envs  # what the next step adds to the clock
        self._ended = np.zeros(env.num_envs, dtype=np.bool_)
        self._last: NDArray[Any] | None = None  # what each copy saw last
        self._bare = isinstance(env, BatchedWorld)  # as long as nothing moves, it shows again what it has shown
        self._column = (-1, *[1] * len(env.single_observation_space.shape or ()))  # a mask beside observations
        self._enforce()

    def step(self, actions: NDArray[Any]) -> Step:
        """Step every copy in the world of this step, advance the clock by N, then reset as the autoreset mode says.

        Raises:
            gymnasium.error.ResetNeeded: nothing was reset yet or, without autoreset, a copy has ended.
            ValueError: the actions are not in the action space.
        """
        if self._last is None or self._by_hand:
            self._check_ready()
        self._check_actions(actions)
        if self._force.pending and self.apply != "reset":
            self._enforce()
        if self._within:
            self._force.put(self.own_clocks.values("step"))
        observation, reward, terminated, truncated, info = self.env.step(actions)
        self._force.tell(info, self.clock.t)
        self._advance(reward)
        self._cut(terminated, truncated)
        observation = self._after_step(self, observation, reward, terminated, truncated, info)
        self._last = observation.copy("K")
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
            self._force.expire()
        self.own_clocks.begin(mask, self.clock.t, episode)
        observation, info = self._restart(mask, self._last, seed=seed, options=options)
        self._force.tell(info, self.clock.t, mask)
        self._ended[mask], self._last = False, observation.copy("K")
        return observation, info

    def freeze(self, frozen: bool = True) -> None:
        """Let time stand still, or go on from where it stood: no clock moves but that of the steps in an episode."""
        self.own_clocks.freeze(frozen)
        self._pace = 0 if frozen else self.num_envs

    def snapshot(self) -> Snapshot:
        """Return the state of this layer, not of what it wraps, as plain data that JSON keeps."""
        return {
            "clock": self.clock.t,
            "own_clocks": self.own_clocks.snapshot(),
            "in_force": self._force.snapshot(),
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
        self._pace = 0 if self.own_clocks.frozen else self.num_envs
        self._force.restore(snapshot["in_force"])
        self._ended, seen = np.array(snapshot["ended"]), snapshot["seen"]
        self._last = None if seen is None else np.array(seen, dtype=self.observation_space.dtype)

    def _check_ready(self) -> None:
        if self._last is None:
            raise gym.error.ResetNeeded("reset the batch before its first step")
        if self._by_hand and np.count_nonzero(self._ended):
            raise gym.error.ResetNeeded(f"copies {self._ended.nonzero()[0].tolist()} have ended: reset them first")

    def _restart(
        self, mask: Mask, seen: NDArray[Any] | None, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], Info]:
        """Begin episodes of the masked copies in the world as it now is; the others still see what they have `seen`."""
        moves = self._force.pending or self._counting
        if moves:
            self._enforce(mask if self.apply == "reset" else None)
        first, info = self.env.reset(seed=seed, options={**(options or {}), "reset_mask": mask})
        if seen is None or (self._bare and not moves):
            return first, info
        shown = seen.copy("K")
        np.copyto(shown, first, where=mask.reshape(self._column))
        return shown, info

    def _advance(self, reward: NDArray[Any]) -> None:
        moved = self.clock.advance(self._pace)
        if self.own_clocks.stepped(reward, self.clock.t) or moved:
            self._force.expire()

    def _cut(self, terminated: Mask, truncated: Mask) -> None:
        """Mark, in place, the episodes that end here by the time limit or by a change of task."""
        if self.max_episode_steps and (old := self.own_clocks.as_old_as(self.max_episode_steps)) is not None:
            truncated |= old
        self._cut_at_change(truncated)
        if self.own_clocks.watch is not None:
            ends = terminated | truncated
            if self.own_clocks.ended(ends & ~self._ended, self.clock.t):  # without those that wait for their reset
                self._force.expire()
                self._cut_at_change(truncated, ~ends)

    def _cut_at_change(self, truncated: Mask, running: Mask | bool = True) -> None:
        if self.apply == "truncate" and self._force.pending:
            truncated |= running & (self._force.task != self._task_now())

    def _reset_the_ended_before(
        self, observation: NDArray[Any], reward: NDArray[Any], terminated: Mask, truncated: Mask, info: Info
    ) -> NDArray[Any]:
        again = self._ended.nonzero()[0]
        if again.size:
            reward[again], terminated[again], truncated[again] = 0.0, False, False
            observation = self._begin_anew(self._ended, again, observation, info)
        self._ended = terminated | truncated
        return observation

    def _reset_the_ended_now(
        self, observation: NDArray[Any], reward: NDArray[Any], terminated: Mask, truncated: Mask, info: Info
    ) -> NDArray[Any]:
        ended = terminated | truncated
        again = ended.nonzero()[0]
        if not again.size:
            return observation
        final = {"final_obs": observation, "final_info": masked(info, ended) | {"clock": info["clock"].copy()}}
        observation = self._begin_anew(ended, again, observation, info)
        info |= final | {"_final_obs": ended, "_final_info": ended}
        return observation

    def _reset_none(
        self, observation: NDArray[Any], reward: NDArray[Any], terminated: Mask, truncated: Mask, info: Info
    ) -> NDArray[Any]:
        self._ended = terminated | truncated
        return observation

    def _begin_anew(self, mask: Mask, copies: NDArray[np.int64], observation: NDArray[Any], info: Info) -> NDArray[Any]:
        """Reset copies, given as a mask and as indices, and put into `info` what they meet; return what all see."""
        self.own_clocks.begin(copies, self.clock.t)
        shown, _ = self._restart(mask, observation)
        self._force.correct(info, self.clock.t, copies)
        forget(info, mask)
        return shown

    def _enforce(self, mask: Mask | None = None) -> None:
        """Put everything that holds now into force in the masked copies, in all without a mask."""
        values: dict[str, Any] = self.clock.values
        self._force.enforce(values | self.own_clocks.values() if self._counting else values, self._task_now(), mask)

    def _task_now(self) -> Any:
        """Return the number of the task that the clocks have come to, one for all copies or one a copy."""
        return self.clock.task + self.own_clocks.tasks() if self._counting else self.clock.task


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
