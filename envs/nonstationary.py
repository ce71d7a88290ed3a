"""Let the parameters of an environment follow schedules of a clock that episodes do not reset."""

from __future__ import annotations

from typing import Any, Literal, SupportsFloat, get_args

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from lopgym.envs.drift_clock import DriftClock, Drifts
from lopgym.envs.layers import owners
from lopgym.registry import nearest
from lopgym.schedules import to_plain

Apply = Literal["step", "reset", "truncate"]


class NonStationary(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Drive parameters of the wrapped environment by schedules of the environment steps of its life.

    `step` uses the clock, then advances it. A plain `reset()` leaves it: the world goes on. `reset(seed=s)` starts a
    new life at clock 0, `reset(options={"clock": k})` goes to step k, both together do both.

    Every `info`, of `step` as of `reset`, has `task` (int, changes so far), `drift` (parameter -> value) and `clock`
    (int), as in force during that step; `reset` reports what the next step will meet.
    """

    def __init__(
        self, env: gym.Env[Any, Any], *, drifts: Drifts, stride: int = 1, apply: Apply = "step", world_seed: int = 0
    ) -> None:
        """Bind every drift to the layer of `env` that owns the parameter, and set the values of step 0.

        Args:
            env: has, somewhere in its stack, a `Parametric` layer for every drift.
            drifts: by parameter, a schedule, the plain data of one, or a number. They are recorded as plain data.
            stride: what one `step` adds to the clock: n for each of n separate copies of one world.
            apply: when a change takes effect: at its `step`; at the first `reset` after it; or at its step, the step
                before being the last of its episode (`truncate`; its observation is still of the old world).
            world_seed: fixes the realisation of random schedules.

        Raises:
            ValueError: nobody or two layers own a parameter, or a value is out of bounds.
        """
        check_apply(apply)
        if stride < 1 or stride != int(stride):
            raise ValueError(f"stride={stride} must be a whole number of steps, 1 or more")
        RecordConstructorArgs.__init__(self, drifts=plain(drifts), stride=stride, apply=apply, world_seed=world_seed)
        gym.Wrapper.__init__(self, env)
        self.drifting = tuple(drifts)
        self.stride, self.apply = stride, apply
        self.clock = DriftClock(drifts, world_seed)
        self._owners = owners(env, drifts)
        self._drift: dict[str, float] = {}
        self._task, self._pending = 0, True
        self._enforce()

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step in the world of this step, then advance the clock."""
        if self._pending and self.apply != "reset":
            self._enforce()
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._report(info)
        if self.clock.advance(self.stride):
            self._pending = True
            truncated = truncated or (self.apply == "truncate" and self.clock.task != self._task)
        return observation, reward, terminated, truncated, info

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in the world as it now is; `seed` and `options["clock"]` move the clock first.

        Raises:
            ValueError: `options["clock"]` is no number of steps.
        """
        options, target = clock_target(seed, options)
        if target is not None:
            self.clock.seek(target)
        if self._pending or target is not None:
            self._enforce()
        observation, info = self.env.reset(seed=seed, options=options)
        self._report(info)
        return observation, info

    def _enforce(self) -> None:
        values = self.clock.values
        for name, owner in self._owners.items():
            if values[name] != self._drift.get(name):
                owner.set_physics(**{name: values[name]})
        self._drift, self._task, self._pending = values, self.clock.task, False

    def _report(self, info: dict[str, Any]) -> None:
        info["task"], info["drift"], info["clock"] = self._task, dict(self._drift), self.clock.t


def plain(drifts: Drifts) -> dict[str, dict[str, Any]]:
    """Return drifts as plain data."""
    return {name: to_plain(drift) for name, drift in drifts.items()}


def check_apply(apply: str) -> None:
    """Raise ValueError unless `apply` is one of the three."""
    if apply not in get_args(Apply):
        raise ValueError(f"apply={apply!r} is not allowed; {nearest(str(apply), get_args(Apply))}")


def clock_target(seed: Any, options: dict[str, Any] | None) -> tuple[dict[str, Any] | None, int | None]:
    """Return the options that are not ours, and the step to which a reset moves the clock, None if it goes on.

    Raises:
        ValueError: it is no whole number of steps.
    """
    if not options or "clock" not in options:
        return options, None if seed is None else 0
    clock = options["clock"]
    if isinstance(clock, bool) or not isinstance(clock, int | np.integer) or clock < 0:
        raise ValueError(f"options['clock']={clock!r} must be a whole number of steps, 0 or more")
    return {key: value for key, value in options.items() if key != "clock"}, int(clock)
