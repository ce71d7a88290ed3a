"""Let the parameters of an environment follow schedules of a clock that episodes do not reset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, SupportsFloat, get_args

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from lopgym.bounds import PositiveInt
from lopgym.declared import fitted
from lopgym.envs.drift_checks import check_known_values
from lopgym.envs.drift_clock import DriftClock, Drifts, as_schedules, realised
from lopgym.envs.layers import owners
from lopgym.envs.options import as_world_seed, check_mappings
from lopgym.envs.own_clocks import Clocks, OwnClocks
from lopgym.envs.snapshot import Snapshot, Stateful, check_snapshot
from lopgym.envs.triggered import Trigger
from lopgym.registry import nearest
from lopgym.schedules import to_plain

Apply = Literal["step", "reset", "truncate"]
_ALONE = np.ones(1, dtype=np.bool_)  # the mask of the only copy


class NonStationary(Stateful, gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Drive parameters of the wrapped environment by schedules of the environment steps of its life.

    `step` uses the clock, then advances it. A plain `reset()` leaves it: the world goes on. `reset(seed=s)` starts a
    new life at clock 0, `reset(options={"clock": k})` goes to step k, both together do both.

    A parameter can follow another clock: its schedule is then a function of the `episode` (how many were begun before
    this one in this life), of the `step` in the episode, or of how often a `trigger` has fired.

    Every `info`, of `step` as of `reset`, has `task` (int, changes so far), `drift` (parameter -> value) and `clock`
    (int), as in force during that step; `reset` reports what the next step will meet. The task counts the jumps on the
    clocks life, episode and trigger, each clock for itself; jumps in an episode come back with the next, and are none.

    Attributes:
        clock: the life of the world.
        own_clocks: the others; `own_clocks.watch.log` has the steps at which the trigger fired.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        *,
        drifts: Drifts,
        stride: int = 1,
        apply: Apply = "step",
        world_seed: int = 0,
        clocks: Clocks | None = None,
        trigger: Trigger | Mapping[str, Any] | None = None,
    ) -> None:
        """Bind every drift to the layer of `env` that owns the parameter, and set the values of step 0.

        Args:
            env: has, somewhere in its stack, a `Parametric` layer for every drift.
            drifts: by parameter, a schedule, the plain data of one, or a number. They are recorded as plain data.
            stride: what one `step` adds to the clock: n for each of n separate copies of one world.
            apply: when a change of the life or the trigger takes effect: at its `step`; at the first `reset` after it;
                or at its step, the step before being the last of its episode (`truncate`; its observation is still of
                the old world).
            world_seed: fixes the realisation of random schedules.
            clocks: by parameter, the clock that its schedule follows if not the life: `episode`, `step`, `trigger`.
            trigger: when the clock `trigger` moves on, or the plain data of it. Separate copies have one each.

        Raises:
            ValueError: nobody or two layers own a parameter, a value that a schedule names is out of bounds, or clocks
                and trigger do not fit.
        """
        check_apply(apply)
        stride, world_seed = fitted("stride", stride, PositiveInt), as_world_seed(world_seed)
        check_mappings(drifts=drifts, clocks=clocks)
        clocks = dict(clocks or {})
        own = OwnClocks(drifts, clocks, trigger, world_seed)
        RecordConstructorArgs.__init__(
            self,
            drifts=plain(drifts),
            stride=stride,
            apply=apply,
            world_seed=world_seed,
            clocks=clocks,
            trigger=own.watch and own.watch.trigger.plain(),
        )
        gym.Wrapper.__init__(self, env)
        self.drifting = tuple(drifts)
        self.stride, self.apply = stride, apply
        self._owners = owners(env, drifts)
        check_known_values(self._owners, realised(drifts, world_seed), clocks)
        self._at_once, self._truncates = apply != "reset", apply == "truncate"
        self.clock, self.own_clocks = DriftClock(on_life(drifts, clocks), world_seed), own
        self._pace = stride  # what the next step adds to the clock
        self._counting, self._within = bool(own), "step" in own
        self._drift = dict.fromkeys(drifts, np.nan)
        self._task, self._pending = 0, True
        self._enforce()

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step in the world of this step, then advance the clock."""
        if self._pending and self._at_once:
            self._enforce()
        if self._within:
            self._put(self._drift | self._own_values("step"))
        said, clock = self.env.step(action), self.clock
        info = said[4]
        info["task"], info["drift"], info["clock"] = self._task, self._drift.copy(), clock.t
        clock.t += self._pace
        if clock.t >= clock.due:  # seldom: a call of `clock.advance` at every step would take as long as all the rest
            clock.arrive()
            self._pending = True
        if self._counting and self.own_clocks.stepped(float(said[1]), clock.t):
            self._pending = True
        if self._truncates and self._pending and self._task_now() != self._task:
            observation, reward, terminated, _, info = said
            return observation, reward, terminated, True, info
        return said

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in the world as it now is; `seed` and `options["clock"]` move the clock first.

        Where something follows the clock `episode`, `options["episode"]` says the number of the one that begins.

        Raises:
            ValueError: `options["clock"]` is no number of steps, or `options["episode"]` no number of episodes.
        """
        options, target = clock_target(seed, options)
        if self._counting:
            options = self._begin_episode(options, target, new_life=seed is not None)
        if target is not None:
            self.clock.seek(target)
        if self._pending or target is not None or self._counting:
            self._enforce()
        observation, info = self.env.reset(seed=seed, options=options)
        info["task"], info["drift"], info["clock"] = self._task, self._drift.copy(), self.clock.t
        return observation, info

    def freeze(self, frozen: bool = True) -> None:
        """Let time stand still, or go on from where it stood: no clock moves but that of the steps in an episode."""
        self.own_clocks.freeze(frozen)
        self._pace = 0 if frozen else self.stride

    def snapshot(self) -> Snapshot:
        """Return the state of this layer, not of what it wraps, as plain data that JSON keeps."""
        force = {"drift": dict(self._drift), "task": self._task, "pending": self._pending}
        return {"clock": self.clock.t, "own_clocks": self.own_clocks.snapshot(), "in_force": force}

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot of this layer, or of one that was made alike, exactly.

        Raises:
            ValueError: it is of a layer with other drifts or clocks.
        """
        check_snapshot(snapshot, self.snapshot())
        self.clock.seek(snapshot["clock"])
        self.own_clocks.restore(snapshot["own_clocks"])
        self._pace = 0 if self.own_clocks.frozen else self.stride
        self._put(dict(snapshot["in_force"]["drift"]))
        self._task, self._pending = snapshot["in_force"]["task"], snapshot["in_force"]["pending"]

    def _begin_episode(
        self, options: dict[str, Any] | None, target: int | None, *, new_life: bool
    ) -> dict[str, Any] | None:
        """Let the own clocks begin an episode, after a move to step `target` if there is one; return other options."""
        own, t = self.own_clocks, self.clock.t if target is None else target
        options, episode = taken(options, "episode", "episodes") if "episode" in own else (options, None)
        if target is None:  # time limits cut outside this layer: only here is the end of an episode sure to be seen
            own.ended(own.elapsed > 0, t)
        else:
            own.seek(target, new_life=new_life)
        own.begin(_ALONE, t, episode)
        return options

    def _enforce(self) -> None:
        """Put everything that holds now into force."""
        clock = self.clock
        if self._counting:
            self._put(self._drift | clock.values | self._own_values())
            self._task = self._task_now()
        else:
            self._put(clock.values)
            self._task = clock.task
        self._pending = False

    def _put(self, values: dict[str, float]) -> None:
        before = self._drift
        for name, owner in self._owners.items():
            if values[name] != before[name]:
                owner.move(name, values[name])
        self._drift = values

    def _own_values(self, *clocks: str) -> dict[str, float]:
        return {name: float(values[0]) for name, values in self.own_clocks.values(*clocks).items()}

    def _task_now(self) -> int:
        return self.clock.task + (int(self.own_clocks.tasks()[0]) if self._counting else 0)


def plain(drifts: Drifts) -> dict[str, dict[str, Any]]:
    """Return drifts as plain data."""
    return {name: to_plain(schedule) for name, schedule in as_schedules(drifts).items()}


def on_life(drifts: Drifts, clocks: Clocks) -> Drifts:
    """Return the drifts that follow the life of the world."""
    return {name: drift for name, drift in drifts.items() if clocks.get(name, "life") == "life"}


def check_apply(apply: str) -> None:
    """Raise ValueError unless `apply` is one of the three."""
    if apply not in get_args(Apply):
        raise ValueError(f"apply={apply!r} is not allowed; {nearest(str(apply), get_args(Apply))}")


def clock_target(seed: Any, options: dict[str, Any] | None) -> tuple[dict[str, Any] | None, int | None]:
    """Return the options that are not ours, and the step to which a reset moves the clock, None if it goes on.

    Raises:
        ValueError: it is no whole number of steps.
    """
    options, target = taken(options, "clock", "steps")
    return options, 0 if target is None and seed is not None else target


def taken(options: dict[str, Any] | None, name: str, unit: str) -> tuple[dict[str, Any] | None, int | None]:
    """Return the other options, and option `name`, a number of `unit`; None if it is not there.

    Raises:
        ValueError: it is no whole number of at least 0.
    """
    if not options or name not in options:
        return options, None
    count = options[name]
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
        raise ValueError(f"options[{name!r}]={count!r} must be a whole number of {unit}, 0 or more")
    return {key: value for key, value in options.items() if key != name}, int(count)
